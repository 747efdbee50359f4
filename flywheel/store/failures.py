"""What goes wrong with the database file itself."""

from __future__ import annotations

from pathlib import Path

from flywheel.errors import DiskFull, FlywheelError

__all__ = ["DiskFull", "StoreFailed", "no_room"]


class StoreFailed(FlywheelError):
    """The database cannot be read or written; a running process should end and start anew.

    After DuckDB reports a fatal error every later statement fails too, whatever it is.
    """


def no_room(path: Path) -> DiskFull:
    """Say that `path` could not be written for want of room."""
    return DiskFull(
        f"no room to write {path}: nothing was written",
        hint=f"make room on the disk of {path.parent}; what waits goes on by itself",
    )
