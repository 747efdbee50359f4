"""The one database file: who holds it, who may write, who reads what.

One process holds it. Inside it there is one write transaction at a time; readers never wait and
never see half of one. DuckDB is locked down first: no other file, network, extension or setting.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from flywheel.store import compaction, schema
from flywheel.store.columns import Connection, scalar
from flywheel.store.copying import copy_file
from flywheel.store.failures import StoreFailed, lost, readable_failures
from flywheel.store.opening import connect, hold

PATIENCE_S = 30.0
"""A new file waits this long for those who still read the old one."""


def open_store(path: Path, lock: int | None = None) -> Store:
    """Open the database file, creating and migrating it as needed.

    Args:
        path: the file.
        lock: of it, where the caller has it already; it is the store's from now on.

    Raises:
        DatabaseHeld: another process (or another store of this one) holds the file.
        DiskFull: there is no room for it.
        StoreFailed: the file is damaged, or of a newer flywheel or DuckDB.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = hold(path) if lock is None else lock
    try:
        root = connect(path)
        try:
            with readable_failures(path):
                schema.migrate(root, schema.shipped())
        except BaseException:
            root.close()
            raise
    except BaseException:
        os.close(lock)
        raise
    return Store(path, root, lock)


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

    def copy_to(self, path: Path) -> None:
        """Write the database, as of one moment, to a new file of its own; writers wait.

        Raises:
            RuntimeError: this thread has a write transaction open.
            StoreFailed: the database can no longer be used, or the copy is not whole.
            FlywheelError: the copy cannot be written; nothing is left behind.
        """
        wal = self.path.with_name(f"{self.path.name}.wal")
        with self._writing:
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
            if not (self.checkpoint() and (anyway or compaction.worth_it(self._writer))):
                return False
            self._compacting = True
            try:
                fresh = compaction.write_anew(self._root, self.path)
                return self._reopen(PATIENCE_S, lambda: compaction.put_in_place(fresh, self.path))
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
