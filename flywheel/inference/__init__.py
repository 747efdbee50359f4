"""The inference process (`flywheel serve`): it answers requests, and logs what it answered.

It never opens the database. What it has for the daemon goes through a log and the daemon's socket.
"""

from flywheel.inference.process import serve

__all__ = ["serve"]
