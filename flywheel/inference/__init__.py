"""The inference process (`flywheel serve`): it answers requests, and logs what it answered.

It never opens the database. What it has for the daemon goes through a log and the daemon's socket.
"""
