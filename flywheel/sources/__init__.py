"""Where events come from: built-in sources, plugins/NAME.py, and entry points.

`find` and `available` discover, `Runner` polls, `conformance.check` holds a source to its contract.
"""

from flywheel.sources.discovery import Found, available, find
from flywheel.sources.runner import Runner

__all__ = ["Found", "Runner", "available", "find"]
