"""Teachers that write samples for briefs; one module for each kind."""
