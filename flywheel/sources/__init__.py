"""Where events come from: built-in sources, plugins/NAME.py, and entry points.

`find` and `available` discover, `Runner` polls, `conformance.check` holds a source to its contract.
"""

from flywheel.sources.runner import Found, Runner, available, find

__all__ = ["Found", "Runner", "available", "find"]
