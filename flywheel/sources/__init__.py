"""Sources of events: built in, plugins/NAME.py, and entry points.

`find` and `available` discover them, `Runner` polls them, `conformance.check` checks the contract.
"""

from flywheel.sources.runner import Found, Runner, available, find

__all__ = ["Found", "Runner", "available", "find"]
