"""A backup in the place of the database: wholly the old one or the new one, whenever it is cut off.

A copy arrives as `NAME.arriving` and is read there to its last row. Its rows are written to a new
file, `NAME.arriving.proved`, whose tables are the migrations' own, and that one is staged as
`NAME.restoring-WHEN`: from then on it is the database that will be. `put_in_place` does the rest by
renames, and goes on where a crash left it. The old database, and what else belongs to it alone, is
kept beside as `….before-WHEN`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from flywheel import files
from flywheel.errors import Refused, StoreFailed
from flywheel.store import archive, catalog, redo, schema, seal
from flywheel.store.columns import Connection, scalar
from flywheel.store.connecting import Settings, connect, lock_file
from flywheel.store.database import Store, open_store

log = logging.getLogger(__name__)

_SIDE_FILES = ("", ".wal", ".lock")
_WHEN = "%Y%m%dT%H%M%S"  # UTC, in names
_BATCH = 50_000  # rows written at once
_HINT = "nothing was changed; name a file that `flywheel db backup` wrote"


@contextmanager
def held(database: Path) -> Iterator[int]:
    """Keep every other process from the database; gives the lock for `put_in_place`.

    Raises:
        DatabaseHeld: another process has it.
    """
    lock = lock_file(database)
    try:
        yield lock
    finally:
        os.close(lock)


def arriving(database: Path) -> Path:
    """Where a copy is written and proven; of no consequence until it is staged."""
    return database.with_name(f"{database.name}.arriving")


def proved(copy: Path) -> Path:
    """Where the rows of a copy are written anew: this file is staged, never the one that came."""
    return copy.with_name(f"{copy.name}.proved")


def discard(database: Path) -> None:
    """Remove a copy that arrived and was not staged, and what was made of it."""
    for copy in (arriving(database), proved(arriving(database))):
        for suffix in _SIDE_FILES:
            copy.with_name(f"{copy.name}{suffix}").unlink(missing_ok=True)
        shutil.rmtree(copy.with_name(f"{copy.name}.tmp"), ignore_errors=True)


@contextmanager
def opened(copy: Path, limits: Settings | None = None) -> Iterator[tuple[Store, seal.State]]:
    """A copy as a database of this version, and whether its rows are as they were sealed.

    Args:
        copy: the file; it is migrated in place.
        limits: settings of DuckDB's that are narrower than a daemon's.

    Raises:
        Refused: it is no database, none of flywheel's, of a newer one, damaged, or edited.
    """
    try:
        _refuse_repeated_header(copy)
        with contextlib.closing(connect(copy, limits)) as con:
            _refuse_foreign(con)
            sealed = _sealed(copy, con)
        with contextlib.closing(open_store(copy, limits=limits)) as store:
            store.probe()
            yield store, sealed
    except StoreFailed as error:
        raise Refused(f"the backup cannot be used: {error.message}", hint=_HINT) from error
    except duckdb.Error as error:
        raise Refused(f"the backup cannot be used: {error}", hint=_HINT) from error
    if copy.with_name(f"{copy.name}.wal").exists():
        raise Refused("the backup cannot be used: its log stays beside it", hint=_HINT)


@contextmanager
def read_whole(database: Path, limits: Settings | None = None) -> Iterator[Connection]:
    """A database whose definitions and rows were all read once, and whose bytes are as they were.

    What cannot be opened ends the process now, if it ever does.

    Raises:
        DatabaseHeld, StoreFailed: it cannot be opened.
        Refused: it cannot be read to its last row.
    """
    with contextlib.closing(connect(database, limits)) as con:
        try:
            catalog.objects(con)
            schema.fingerprints(con)
        except duckdb.Error as error:
            raise Refused(f"{database} cannot be read: {error}", hint=_HINT) from error
        yield con


def write_anew(store: Store, to: Path, limits: Settings | None = None) -> None:
    """Write the rows of flywheel's tables to a new file, in their order, and compare.

    Nothing else comes along: no free block, no statistics, no table of somebody's own.

    Raises:
        Refused: the rows are not the same in the new file.
    """
    fresh = open_store(to, limits=limits)
    with contextlib.closing(fresh), store.read() as con:
        for kind, name in catalog.shipped(len(schema.shipped())):
            if kind == "table":
                _copy_rows(con, fresh, name)
        with fresh.read() as written:
            if seal.digest(written) != seal.digest(con):
                raise Refused("the backup cannot be used: its rows do not stay", hint=_HINT)
    to.with_name(f"{to.name}.lock").unlink(missing_ok=True)


def _copy_rows(con: Connection, fresh: Store, name: str) -> None:
    rows = con.execute("FROM query_table(?)", [name]).to_arrow_reader(_BATCH)
    with fresh.write() as writer:
        writer.execute(f"DELETE FROM {name}")  # noqa: S608  a name of the migrations'
        writer.register("arriving_rows", rows)
        try:
            writer.execute(f"INSERT INTO {name} BY NAME FROM arriving_rows")
        finally:
            writer.unregister("arriving_rows")


def _sealed(copy: Path, con: Connection) -> seal.State:
    if schema.applied(con) > len(schema.shipped()):
        return "none"  # it is refused when it is opened
    catalog.settle(copy, con)
    sealed = seal.state(con)
    if sealed == "broken":
        raise Refused(
            "the backup cannot be used: its rows are not those that were backed up",
            hint=f"it was changed after `flywheel db backup` wrote it; {_HINT}",
        )
    return sealed


_HEADERS = struct.Struct("<8xQ4080x8xQ")  # behind the main one: twice a checksum, and its number
_HEADER = 4096


def _refuse_repeated_header(copy: Path) -> None:
    """Refuse a file with the same header twice: the older one shows the rows of an earlier time.

    DuckDB writes two in turn and reads the one with the higher number.
    """
    with copy.open("rb") as file:
        file.seek(_HEADER)
        read = file.read(_HEADERS.size)
    if len(read) == _HEADERS.size:
        first, second = _HEADERS.unpack(read)
        if first == second != 0:
            raise Refused("the backup cannot be used: one of its headers is lost", hint=_HINT)


def stage(
    database: Path, now: datetime, beside: Sequence[str] = (), digest: str = ""
) -> list[Path]:
    """Make the proven rows the database that will be; returns what will be kept, and where.

    Args:
        database: the file that is replaced at the next start.
        now: when, for the names.
        beside: folders in the database's folder that belong to the old database alone.
        digest: SHA-256 of the file that was proven; "" where nobody else could have changed it.

    Raises:
        Refused: it is another file by now.
    """
    if digest and seal.file_digest(proved(arriving(database))) != digest:
        raise Refused("the backup changed after it was read", hint=_HINT)
    when = _free(database, now.strftime(_WHEN))
    files.replace(
        proved(arriving(database)), database.with_name(f"{database.name}.restoring-{when}")
    )
    moves = _moves(database, when, beside)  # less the log, which will be in its file by then
    return [there for here, there in moves if here.suffix != ".wal" and _worth_keeping(here)]


def staged(database: Path) -> Path | None:
    """The copy that takes the database's place at the next start; None without one."""
    return max(database.parent.glob(f"{database.name}.restoring-*"), default=None)


def set_aside(database: Path) -> list[Path]:
    """The databases that restores have kept, and their logs."""
    return sorted(database.parent.glob(f"{database.name}.before-*"))


def put_in_place(
    database: Path,
    lock: int,
    load: Callable[[Store], object],
    beside: Sequence[str] = (),
    survives: Callable[[Path], bool] = lambda _: True,
) -> list[Path]:
    """Let the staged copy, if there is one, be the database.

    First everything that the old database is still owed is put into it. One that cannot be
    opened is kept as it is, and then what the spool holds goes to the new one.

    Args:
        database: the file that is replaced; its folder holds the staged copy.
        lock: of `held`.
        load: puts what the spool holds into a store, and takes it out of the spool.
        beside: as for `stage`.
        survives: whether a process that opens the old database lives on; asked in another one.

    Returns:
        What was kept; empty without a staged copy, or where no database was.

    Raises:
        DiskFull: there is no room for what the old database is owed; nothing was moved.
    """
    copy = staged(database)
    if copy is None:
        return []
    when = copy.name.rpartition("-")[2]
    if database.exists():
        at = datetime.strptime(when.partition(".")[0], _WHEN).replace(tzinfo=UTC)
        when = _free(database, when)
        if survives(database):
            _complete(database, lock, load, at)
        else:
            _tell_set_aside("opening it ends the process")
    moves = [*_moves(database, when, beside)]
    for here, there in moves:
        if _worth_keeping(here) and not there.exists():
            files.move(here, there)
    files.replace(copy, database)
    return [there for _, there in moves if there.exists()]


def _complete(database: Path, lock: int, load: Callable[[Store], object], at: datetime) -> None:
    """Put into the old database what was acknowledged, finish its archive, and seal its rows."""
    try:
        with contextlib.closing(
            open_store(database, os.dup(lock), redo_folder=database.parent / redo.FOLDER)
        ) as store:
            load(store)
            with store.write() as con:
                archive.settle(con)
                if seal.state(con) != "whole":  # a crash may have repeated this
                    seal.put(con, "restore", at)
    except StoreFailed as error:
        _tell_set_aside(error.message)


def _tell_set_aside(why: str) -> None:
    log.warning(
        "the old database cannot be opened, so events of the spool go to the restored one: %s",
        why,
        extra={"event": "database.set_aside"},
    )


def _moves(database: Path, when: str, beside: Sequence[str]) -> Iterator[tuple[Path, Path]]:
    """What is set aside, and its new name; the log after its file, for it belongs to no other."""
    for name in (database.name, *beside):
        yield database.with_name(name), database.with_name(f"{name}.before-{when}")
        if name == database.name:
            wal, kept = f"{name}.wal", f"{name}.before-{when}.wal"
            yield database.with_name(wal), database.with_name(kept)


def _worth_keeping(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.exists()


def _free(database: Path, when: str) -> str:
    """`when`, or the first after it, of which there is nothing yet."""
    number, free = 1, when
    while any(database.parent.glob(f"*.before-{free}*")):
        number += 1
        free = f"{when}.{number}"
    return free


def _refuse_foreign(con: duckdb.DuckDBPyConnection) -> None:
    tables = "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'schema_version'"
    if not (scalar(con, tables) and scalar(con, "SELECT max(version) FROM schema_version")):
        raise Refused("the backup is not a database of flywheel's", hint=_HINT)
