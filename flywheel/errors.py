"""Errors a person can act on: what failed, on what, and what to do next."""

from __future__ import annotations

import errno
import os
from pathlib import Path

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Numbers of an `OSError` that says that a disk, a quota or a file is full."""


class FlywheelError(Exception):
    """A failure its reader can fix; shown as two lines, never as a stack trace.

    Args:
        message: what failed, and on what.
        hint: what the reader does next; empty when there is nothing to do.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(FlywheelError):
    """config.toml or intents.toml cannot be used as written."""


class DatabaseHeld(FlywheelError):
    """Another process owns the database file."""


class TooManyRecords(FlywheelError):
    """A batch has more records than one may have; nothing of it was taken."""


class DaemonUnreachable(FlywheelError):
    """Nothing answers on the socket."""


class DiskFull(FlywheelError):
    """There is no room to write; nothing was written, and what was there still works.

    It is worth trying again once there is room.
    """


class StoreFailed(FlywheelError):
    """The database cannot be read or written; a running process should end and start anew.

    After DuckDB reports a fatal error every later statement fails too, whatever it is.
    """


class Refused(FlywheelError):
    """The request is understood and not allowed in the present state."""


class NotFound(FlywheelError):
    """No such turn, decision, adapter, or sample."""


class JobFailed(FlywheelError):
    """A worker ended without a result, or said why it could not give one."""


class TeacherUnavailable(FlywheelError):
    """The teacher did not answer within its retries; try again later."""


class SourceUnavailable(FlywheelError):
    """A source cannot be read now; nothing was consumed."""


class ServingAway(FlywheelError):
    """The server of the champion cannot be reached now; what waits for it is tried again."""


class NotLoaded(FlywheelError):
    """The server cannot load this adapter as it is."""


def full_disk(error: OSError) -> DiskFull | None:
    """What to tell where the system refused to write for want of room; None: another error."""
    if error.errno not in NO_ROOM:
        return None
    return no_room(Path(os.fsdecode(error.filename or "a file")))


def no_room(path: Path) -> DiskFull:
    """Say that `path` could not be written for want of room."""
    return DiskFull(
        f"no room to write {path}: nothing was written",
        hint=f"make room on the disk of {path.parent}; what waits goes on by itself",
    )
