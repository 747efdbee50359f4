"""What goes wrong with the database file itself."""

from __future__ import annotations

from flywheel.errors import FlywheelError


class StoreFailed(FlywheelError):
    """The database cannot be read or written; a running process should end and start anew.

    After DuckDB reports a fatal error every later statement fails too, whatever it is.
    """
