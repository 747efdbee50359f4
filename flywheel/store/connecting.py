"""Takes hold of the database file, for this process alone, and locks DuckDB down."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import re
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import duckdb

from flywheel import files
from flywheel.errors import DatabaseHeld, StoreFailed, no_room
from flywheel.store import archive, catalog, file_copies, segments
from flywheel.store.columns import Connection
from flywheel.store.db_errors import lost

# DuckDB tries to import pandas for each parameter of each query. Where it is not installed, Python
# would search every folder of sys.path for it each time, which takes longer than a small query.
if importlib.util.find_spec("pandas") is None:
    sys.modules["pandas"] = None  # type: ignore[assignment]

Settings: TypeAlias = Mapping[str, str | bool | int | float | list[str]]

_SETTINGS: Settings = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "checkpoint_threshold": "128MB",  # the loader checkpoints by itself before that
    "memory_limit": "2GB",  # the rest of the machine trains; larger queries go through disk
    "storage_compatibility_version": catalog.STORAGE,
}
# What the database may touch besides its own file: old events, itself written anew, the spool.
_FOLDERS = (archive.FOLDER, file_copies.FOLDER, segments.FOLDER)
_LOCK_DOWN = ("SET enable_external_access = false", "SET lock_configuration = true")


def lock_file(path: Path) -> int:
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


def lower_priority() -> None:
    """Let others go first, from this thread on and from those that it starts: whoever answers.

    Without it an acknowledgement waits for a core while DuckDB loads on all of them.
    """
    if sys.platform == "linux":  # elsewhere it would be the whole process
        with contextlib.suppress(OSError):
            os.nice(5)


def connect(path: Path, limits: Settings | None = None) -> Connection:
    """Open the file, locked down: no other file, network, extension or setting.

    Args:
        path: the file.
        limits: settings of DuckDB's that are narrower than a daemon's.

    Raises:
        DatabaseHeld: another process holds it.
        StoreFailed: it cannot be read.
    """
    try:
        with ThreadPoolExecutor(
            1, initializer=lower_priority
        ) as opener:  # DuckDB's threads inherit it
            settings = {**_SETTINGS, **(limits or {})}
            con = opener.submit(duckdb.connect, str(path), config=settings).result()
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


_TRIED = "opening"
"""File of the redo log's folder with a byte for each time that opening the database began, and
did not end. DuckDB can end the process that reads a damaged write-ahead log."""
_TRIES = 2


def connect_past_wal(
    path: Path, limits: Settings | None, tried_in: Path | None
) -> tuple[Connection, str]:
    """Connect; a write-ahead log that cannot be read is set aside, and its name returned.

    Args:
        path, limits: as for `connect`.
        tried_in: folder of the redo log, which has what is set aside; None: nothing is.

    Raises:
        DatabaseHeld, StoreFailed: as `connect`; nothing was set aside.
    """
    wal = path.with_name(f"{path.name}.wal")
    if tried_in is None or not wal.exists():
        return connect(path, limits), ""
    tried = tried_in / _TRIED
    tries = tried.stat().st_size if tried.exists() else 0
    if tries < _TRIES:
        tried.write_bytes(b"." * (tries + 1))
        try:
            con = connect(path, limits)
        except StoreFailed:
            tried.unlink()
        else:
            tried.unlink()
            return con, ""
    number = 1
    while (kept := wal.with_name(f"{wal.name}.before-{number}")).exists():
        number += 1
    files.move(wal, kept)
    try:
        con = connect(path, limits)
    except BaseException:  # the file itself is damaged
        files.move(kept, wal)
        raise
    tried.unlink(missing_ok=True)
    return con, kept.name
