"""The one database file: who holds it, who may write, who reads; its copies and its compaction.

One process holds it. Inside it there is one write transaction at a time; readers never wait and
never see half of one. DuckDB is locked down first: no other file, network, extension or setting.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import duckdb

from flywheel.errors import DiskFull, StoreFailed
from flywheel.store import catalog, redo, replay, schema
from flywheel.store.columns import Connection, scalar
from flywheel.store.connecting import Settings, connect, connect_past_wal, lock_file
from flywheel.store.db_errors import lost, readable_failures
from flywheel.store.file_copies import compact, copy_file, put_in_place, worth_compacting
from flywheel.store.redo import Entry, Mark, RedoLog, TransactionRecorder
from flywheel.store.replay import Recovery

PATIENCE_S = 30.0
"""A new file waits this long for those who still read the old one."""


def open_store(
    path: Path,
    lock: int | None = None,
    limits: Settings | None = None,
    redo_folder: Path | None = None,
) -> Store:
    """Open the database file, creating and migrating it as needed.

    Args:
        path: the file.
        lock: of it, where the caller has it already; it is the store's from now on.
        limits: as for `connect`.
        redo_folder: of its redo log: what it lacks is repeated, and what is written is logged.
            None: of a copy, which has none.

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
        log = None if redo_folder is None else RedoLog(redo_folder)
        root, wal = connect_past_wal(path, limits, redo_folder)
        try:
            with readable_failures(path):
                recovered = _migrate(path, root, log, fresh=fresh)
        except BaseException:
            root.close()
            raise
    except BaseException:
        os.close(lock)
        raise
    return Store(path, root, lock, log, replace(recovered, wal=wal))


def _migrate(path: Path, con: Connection, log: RedoLog | None, *, fresh: bool) -> Recovery:
    """Repeat what is missing, and bring the schema up to date; of a file that was there, compare
    it before and after."""
    recovered = Recovery()
    behind = not fresh and 0 < schema.version(con) < len(schema.shipped())
    if behind:
        catalog.settle(path, con)  # a migration reads by the macros that it finds
    if log is not None and not fresh:
        recovered = replay.recover(con, path, log)
    migrated = schema.migrate(con, schema.shipped())
    if fresh:
        catalog.sign(con)
        if log is not None:  # one may be there, of a database that is gone
            recovered = replay.recover(con, path, log)
    else:
        catalog.settle(path, con)
    if log is not None:
        if migrated:  # what is logged from now on is for the tables of today
            con.execute("CHECKPOINT")
        with contextlib.suppress(DiskFull):  # the next transaction begins one, or tells
            log.begin(_mark(con))
    return recovered


def _mark(con: Connection) -> Mark:
    mark = redo.position(con)
    assert mark is not None
    return mark


class Store:
    """The open database. Any thread may use it; `write` lets one in at a time."""

    def __init__(
        self,
        path: Path,
        root: Connection,
        lock: int,
        log: RedoLog | None = None,
        recovered: Recovery | None = None,
    ) -> None:
        self.path = path
        self.log = log
        self.recovered = recovered or Recovery()
        """What was done at the start since the database lacked it."""
        self._root = root
        self._lock_file = lock
        self._writer = root.cursor()
        self._writing = threading.RLock()
        self._cursors = threading.Lock()
        self._depth = 0
        self._readers = 0
        self._compacting = False
        self._spoiled = False
        self._shown = self._writer
        self._closed = False

    @contextmanager
    def write(self, loads: Sequence[Path] = ()) -> Iterator[Connection]:
        """Run one write transaction: commit on exit, roll back on any exception.

        Other threads wait. Inside itself, on the same thread, it joins the transaction that
        is open; an exception there dooms the whole transaction even when it is caught.
        Do not `await` inside: tasks of one thread would share a transaction.

        Args:
            loads: segments of the spool that the transaction does nothing but load; the redo log
                names them in the place of their rows.

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
                        yield from self._transact(loads)
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
            with self._writing, readable_failures(self.path):
                self._refuse_closed()
                self._writer.execute("UPDATE heartbeat SET beats = beats + 1")
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

    def prove_checkpoint(self, copy: Path, read: Callable[[Path], Mark]) -> bool:
        """Checkpoint, read back a copy of the file, and delete what the redo log has of it.

        Writers wait for the copy, not for the reading.

        Args:
            copy: where the copy is for the while.
            read: reads every row of the copy, in another process, and returns where it stands.

        Returns:
            Whether that was done: False while a transaction is open, or without a redo log.

        Raises:
            RuntimeError: this thread has a write transaction open.
            DiskFull, FlywheelError: there is no room, or the copy cannot be read; the redo log
                keeps what it has.
            StoreFailed: the database can no longer be used, or its copy is another than it.
        """
        if self.log is None:
            return False
        with self._writing:
            if not self.checkpoint():
                return False
            copy_file(self.path, copy)
            mark = _mark(self._writer)
            safe = self.log.begin(mark)
        if read(copy) != mark:
            raise StoreFailed(
                f"a copy of {self.path} is not as the database says",
                hint="the disk may be failing: `flywheel db backup` to another one",
            )
        with self._writing:
            self.log.remove(safe)
        return True

    def forget_log(self) -> bool:
        """Checkpoint, and delete all of the redo log: nothing that was erased stands in it.

        Returns:
            False while a transaction is open; nothing was deleted.

        Raises:
            RuntimeError, DiskFull, StoreFailed: as for `checkpoint`.
        """
        with self._writing:
            if not self.checkpoint():
                return False
            if self.log is not None:
                self.log.clear(_mark(self._writer))
            return True

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
            if self.log is not None:
                self.log.end()
            os.close(self._lock_file)

    def _transact(self, loads: Sequence[Path]) -> Iterator[Connection]:
        self._spoiled = False
        con = self._writer
        recorder = None if self.log is None else TransactionRecorder(con)
        if self.log is not None and self.log.is_long():
            self.log.begin(_mark(con))
        con.execute("BEGIN TRANSACTION")
        try:
            self._shown = con if recorder is None or loads else cast("Connection", recorder)
            yield self._shown
            if self._spoiled:
                raise RuntimeError("a part of this transaction failed; nothing was written")
            if recorder is not None and loads:
                recorder.steps = [["load", [path.name for path in loads]]]
            self._commit(con, [] if recorder is None else recorder.steps)
        except BaseException:
            # DuckDB has already rolled back when COMMIT itself failed.
            with contextlib.suppress(duckdb.Error):
                con.execute("ROLLBACK")
            raise

    def _commit(self, con: Connection, steps: list[redo.Step]) -> None:
        """Commit; what changes something is in the redo log before, and is taken off it when the
        commit fails."""
        if self.log is None or not any(step[0] in ("run", "load") for step in steps):
            con.execute("COMMIT")
            return
        number = redo.next_number(con)
        tip = _mark(con) if redo.writes_decisions(steps) else None
        entry = Entry(
            number=number,
            steps=steps,
            tip=tip.tip if tip else "",
            events=tip.events if tip else 0,
        )
        written = self.log.append(entry)
        try:
            con.execute("COMMIT")
        except BaseException:
            self.log.retract(written)
            raise

    def _join(self) -> Iterator[Connection]:
        try:
            yield self._shown
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
