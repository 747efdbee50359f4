"""Takes hold of the database file, for this process alone, and locks DuckDB down."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb

from flywheel.errors import DatabaseHeld
from flywheel.store import archive, compaction, segments
from flywheel.store.columns import Connection
from flywheel.store.failures import lost, no_room

_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "checkpoint_threshold": "128MB",  # the loader checkpoints by itself before that
    "memory_limit": "2GB",  # the rest of the machine trains; larger queries go through disk
    "storage_compatibility_version": "v1.0.0",  # else DuckDB 2 writes what DuckDB 1 cannot read
}
# What the database may touch besides its own file: old events, itself written anew, the spool.
_FOLDERS = (archive.FOLDER, compaction.FOLDER, segments.FOLDER)
_LOCK_DOWN = ("SET enable_external_access = false", "SET lock_configuration = true")


def hold(path: Path) -> int:
    """Take the lock beside the database and return its file descriptor.

    DuckDB's own lock is a POSIX record lock, which the kernel drops as soon as this process
    closes any descriptor of the file (a hash, a copy); two writers would destroy the file.
    """
    lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o640)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
        os.close(lock)
        raise _held(path, holder) from error
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        os.close(lock)
        raise no_room(path) from error
    return lock


def _held(path: Path, pid: str) -> DatabaseHeld:
    return DatabaseHeld(
        f"cannot open {path}: process {pid or 'of unknown id'} holds it",
        hint="the daemon owns this file; ask it with `flywheel status`",
    )


def step_back() -> None:
    """Let others go first, from this thread on and from those that it starts: whoever answers.

    Without it an acknowledgement waits for a core while DuckDB loads on all of them.
    """
    if sys.platform == "linux":  # elsewhere it would be the whole process
        with contextlib.suppress(OSError):
            os.nice(5)


def connect(path: Path) -> Connection:
    """Open the file, locked down: no other file, network, extension or setting.

    Raises:
        DatabaseHeld: another process holds it.
        StoreFailed: it cannot be read.
    """
    try:
        with ThreadPoolExecutor(1, initializer=step_back) as opener:  # DuckDB's threads inherit it
            con = opener.submit(duckdb.connect, str(path), config=_SETTINGS).result()
        beside = [str(path.parent.resolve() / name) for name in _FOLDERS]
        con.execute("SET allowed_directories = ?", [beside])
        for statement in _LOCK_DOWN:
            con.execute(statement)
        return con
    except duckdb.IOException as error:
        holder = re.search(r"Conflicting lock is held.*\(PID (\d+)\)", str(error))
        if holder:
            raise _held(path, holder.group(1)) from error
        raise lost(path, error) from error
    except duckdb.Error as error:
        raise lost(path, error) from error
