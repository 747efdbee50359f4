"""Who writes samples: one module a kind of teacher."""
