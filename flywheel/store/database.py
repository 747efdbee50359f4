"""The one database file: who holds it, who may write, who reads; its copies and its compaction.

One process holds it. Inside it there is one write transaction at a time; readers never wait and
never see half of one. DuckDB is locked down first: no other file, network, extension or setting.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import duckdb

from flywheel import files
from flywheel.errors import DatabaseHeld, FlywheelError, StoreFailed, no_room
from flywheel.store import archive, catalog, schema, segments
from flywheel.store.columns import Connection, first_row, scalar
from flywheel.store.db_errors import lost, readable_failures

# DuckDB tries to import pandas for each parameter of each query. Where it is not installed, Python
# would search every folder of sys.path for it each time, which takes longer than a small query.
if importlib.util.find_spec("pandas") is None:
    sys.modules["pandas"] = None  # type: ignore[assignment]

# Copies of a database file, whole or not at all.


def copy_file(source: Path, to: Path) -> None:
    """Copy a file in another process, and have it on disk before this returns.

    Closing any descriptor of a database file in this process would drop the lock that DuckDB
    holds on it.

    Raises:
        FlywheelError: it cannot be written; nothing is left behind.
    """
    done = subprocess.run(
        ["cp", "--reflink=auto", "--", os.fspath(source), os.fspath(to)],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        to.unlink(missing_ok=True)
        raise FlywheelError(done.stderr.strip() or f"cannot write {to}", hint="is there room?")
    files.sync(to)


# The database written anew, without the room that deleted rows left.
#
# DuckDB fills freed room with later rows and never shortens its file, so this pays only when most
# of a large file is free.

FOLDER = "compacting"
_WORTH_BYTES = 64 << 20
_FREE = "SELECT block_size * free_blocks, block_size * total_blocks FROM pragma_database_size()"


def worth_compacting(con: Connection) -> bool:
    """Whether at least half of a file, and enough to care about, is free."""
    free, total = first_row(con, _FREE) or (0, 0)
    return bool(free >= _WORTH_BYTES and free * 2 >= total)


def compact(con: Connection, path: Path) -> Path:
    """Copy all that is committed to a new file, on disk when this returns; `path` is unchanged."""
    folder = path.parent / FOLDER
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
    folder.mkdir(mode=0o750)
    fresh = folder / path.name
    with con.cursor() as cursor:
        cursor.execute(f"ATTACH '{_quoted(fresh)}' AS fresh")
        try:
            name = scalar(cursor, "SELECT current_database()")
            cursor.execute(f'COPY FROM DATABASE "{name}" TO fresh')
        finally:
            cursor.execute("DETACH fresh")
    files.sync(fresh)
    return fresh


def put_in_place(fresh: Path, path: Path) -> bool:
    """Give the new file the old one's name; nobody may have either open.

    False where the old one has a log still, which belongs to no other file.
    """
    wal = path.with_name(f"{path.name}.wal")
    if wal.exists() and wal.stat().st_size:
        return False
    files.replace(fresh, path)
    shutil.rmtree(fresh.parent, ignore_errors=True)
    return True


def _quoted(path: Path) -> str:
    return str(path.resolve()).replace("'", "''")


# Takes hold of the database file, for this process alone, and locks DuckDB down.

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
_FOLDERS = (archive.FOLDER, FOLDER, segments.FOLDER)
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


PATIENCE_S = 30.0
"""A new file waits this long for those who still read the old one."""


def open_store(path: Path, lock: int | None = None, limits: Settings | None = None) -> Store:
    """Open the database file, creating and migrating it as needed.

    Args:
        path: the file.
        lock: of it, where the caller has it already; it is the store's from now on.
        limits: as for `connect`.

    Raises:
        DatabaseHeld: another process (or another store of this one) holds the file.
        DiskFull: there is no room for it.
        StoreFailed: the file is damaged, of a newer flywheel or DuckDB, or somebody changed a
            table, a view or a macro of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = lock_file(path) if lock is None else lock
    try:
        fresh = not path.exists()
        root = connect(path, limits)
        try:
            with readable_failures(path):
                _migrate(path, root, fresh=fresh)
        except BaseException:
            root.close()
            raise
    except BaseException:
        os.close(lock)
        raise
    return Store(path, root, lock)


def _migrate(path: Path, con: Connection, *, fresh: bool) -> None:
    """Bring the schema up to date; of a file that was there, compare it before and after."""
    if not fresh and 0 < schema.version(con) < len(schema.shipped()):
        catalog.settle(path, con)  # a migration reads by the macros that it finds
    schema.migrate(con, schema.shipped())
    if fresh:
        catalog.sign(con)
    else:
        catalog.settle(path, con)


class Store:
    """The open database. Any thread may use it; `write` lets one in at a time."""

    def __init__(self, path: Path, root: Connection, lock: int) -> None:
        self.path = path
        self._root = root
        self._lock_file = lock
        self._writer = root.cursor()
        self._writing = threading.RLock()
        self._cursors = threading.Lock()
        self._depth = 0
        self._readers = 0
        self._compacting = False
        self._spoiled = False
        self._closed = False

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Run one write transaction: commit on exit, roll back on any exception.

        Other threads wait. Inside itself, on the same thread, it joins the transaction that
        is open; an exception there dooms the whole transaction even when it is caught.
        Do not `await` inside: tasks of one thread would share a transaction.

        Raises:
            DiskFull: there is no room; nothing was written.
            StoreFailed: the database can no longer be used.
        """
        with self._writing:
            self._refuse_closed()
            self._depth += 1
            try:
                if self._depth > 1:
                    yield from self._join()
                else:
                    with readable_failures(self.path):
                        yield from self._transact()
            finally:
                self._depth -= 1

    @contextmanager
    def write_durably(self) -> Iterator[Connection]:
        """Run a write transaction that is on disk when the block ends.

        Raises:
            RuntimeError: this thread has a write transaction open, which could still undo it.
        """
        with self._writing:
            if self._depth:
                raise RuntimeError("a durable write cannot be part of another transaction")
            with self.write() as con:
                yield con

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a read-only connection that sees one state of the database throughout.

        It never waits for writers, and does not see what this thread has not committed.

        Raises:
            StoreFailed: the database can no longer be used.
        """
        with self._cursors:
            self._refuse_closed()
            cursor = self._root.cursor()
            self._readers += 1
        try:
            with readable_failures(self.path):
                cursor.execute("BEGIN TRANSACTION READ ONLY")
                yield cursor
        finally:
            with self._cursors:
                cursor.close()  # ends the transaction too
                self._readers -= 1

    def probe(self) -> None:
        """Read and durably write a row.

        Raises:
            DiskFull: it could not write because there is no room.
            StoreFailed: one of the two did not work.
        """
        try:
            with self.read() as con:
                scalar(con, "SELECT max(version) FROM schema_version")
            if self._compacting:
                return  # writers wait, and that is well
            with self.write() as con:
                con.execute("UPDATE heartbeat SET beats = beats + 1")
        except duckdb.Error as error:
            raise lost(self.path, error) from error

    def checkpoint(self) -> bool:
        """Move what was committed from the log into the file; False while a transaction is open.

        Raises:
            RuntimeError: this thread has a write transaction open.
            StoreFailed: the database can no longer be used.
        """
        with self._writing:
            self._refuse_closed()
            if self._depth:
                raise RuntimeError("a checkpoint cannot be part of a transaction")
            with readable_failures(self.path):
                try:
                    self._writer.execute("CHECKPOINT")
                except duckdb.TransactionException:
                    return False
                return True

    def copy_to(self, path: Path, mark: Callable[[Connection], object] | None = None) -> None:
        """Write the database, as of one moment, to a new file of its own; writers wait.

        Args:
            path: the new file.
            mark: writes into the database what the copy says of itself.

        Raises:
            RuntimeError: this thread has a write transaction open.
            StoreFailed: the database can no longer be used, or the copy is not whole.
            FlywheelError: the copy cannot be written; nothing is left behind.
        """
        wal = self.path.with_name(f"{self.path.name}.wal")
        with self._writing:
            if mark is not None:
                with self.write() as con:
                    mark(con)
            self.checkpoint()
            copy_file(self.path, path)
            if wal.exists() and wal.stat().st_size:  # a reader kept the checkpoint from all of it
                copy_file(wal, path.with_name(f"{path.name}.wal"))
        prove(path)

    def compact(self, *, anyway: bool = False) -> bool:
        """Write the file anew if much of it is free; writers wait, readers but for a moment.

        Args:
            anyway: also if little is; what was deleted stands in no byte of the new file.

        Returns:
            Whether the file is a new one: False where it is not worth it, or where readers
            were in the way for `PATIENCE_S`.

        Raises:
            DiskFull: there is no room for it; the file is as it was.
            StoreFailed: the database can no longer be used.
        """
        with self._writing, readable_failures(self.path):
            if not (self.checkpoint() and (anyway or worth_compacting(self._writer))):
                return False
            self._compacting = True
            try:
                fresh = compact(self._root, self.path)
                return self._reopen(PATIENCE_S, lambda: put_in_place(fresh, self.path))
            finally:
                self._compacting = False

    def release_memory(self) -> bool:
        """Give back the memory that holds what was written; writers wait, readers but for a moment.

        DuckDB holds what is inserted until a checkpoint, and then the pages of it as a cache up
        to its limit, which no statement empties: only opening the file anew does. It takes about
        as long as a few commits, so it pays after megabytes.

        Returns:
            False where somebody reads, or a transaction is open: nothing was given back.

        Raises:
            RuntimeError: this thread has a write transaction open.
            StoreFailed: the database can no longer be used.
        """
        with self._writing, readable_failures(self.path):
            return not self._readers and self.checkpoint() and self._reopen(0.0, lambda: True)

    def _reopen(self, patience_s: float, while_closed: Callable[[], bool]) -> bool:
        """Return what `while_closed` does; False where readers were in the way for so long."""
        until = time.monotonic() + patience_s
        while True:
            with self._cursors:
                if not self._readers:
                    self._writer.close()
                    self._root.close()
                    done = while_closed()
                    self._root = connect(self.path)
                    self._writer = self._root.cursor()
                    return done
            if time.monotonic() >= until:
                return False
            time.sleep(0.01)

    def close(self) -> None:
        """Checkpoint and let go of the file; harmless when already closed."""
        with self._writing, self._cursors:
            if self._closed:
                return
            self._closed = True
            with contextlib.suppress(duckdb.Error):  # what was committed is in the log already
                self._writer.execute("CHECKPOINT")
            self._writer.close()
            self._root.close()
            os.close(self._lock_file)

    def _transact(self) -> Iterator[Connection]:
        self._spoiled = False
        self._writer.execute("BEGIN TRANSACTION")
        try:
            yield self._writer
            if self._spoiled:
                raise RuntimeError("a part of this transaction failed; nothing was written")
            self._writer.execute("COMMIT")
        except BaseException:
            # DuckDB has already rolled back when COMMIT itself failed.
            with contextlib.suppress(duckdb.Error):
                self._writer.execute("ROLLBACK")
            raise

    def _join(self) -> Iterator[Connection]:
        try:
            yield self._writer
        except BaseException:
            self._spoiled = True
            raise

    def _refuse_closed(self) -> None:
        if self._closed:
            raise StoreFailed(f"the database {self.path} is closed")


def prove(path: Path) -> None:
    """Open a copy of a database, use it, and leave it as one file.

    Raises:
        StoreFailed: it cannot be used.
    """
    try:
        with contextlib.closing(open_store(path)) as store:
            store.probe()
    finally:
        path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
