"""A backup in the place of the database: wholly the old one or the new one, whenever it is cut off.

A copy arrives as `NAME.arriving`, is proven there, and is staged as `NAME.restoring-WHEN`: from
then on it is the database that will be. `put_in_place` does the rest by renames, and goes on
where a crash left it. The old database, and what else belongs to it alone, is kept beside as
`….before-WHEN`.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import duckdb

from flywheel import files
from flywheel.errors import Refused
from flywheel.store import archive
from flywheel.store.columns import scalar
from flywheel.store.database import Store, connect, lock_file, open_store
from flywheel.store.db_errors import StoreFailed

log = logging.getLogger(__name__)

_SIDE_FILES = ("", ".wal", ".lock")
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


def discard(database: Path) -> None:
    """Remove a copy that arrived and was not staged."""
    copy = arriving(database)
    for suffix in _SIDE_FILES:
        copy.with_name(f"{copy.name}{suffix}").unlink(missing_ok=True)


@contextmanager
def opened(copy: Path) -> Iterator[Store]:
    """A copy as a database of this version; it is one file when the block has ended.

    Raises:
        Refused: it is no database, none of flywheel's, of a newer one, or damaged.
    """
    try:
        with contextlib.closing(connect(copy)) as con:
            _refuse_foreign(con)
        with contextlib.closing(open_store(copy)) as store:
            store.probe()
            yield store
    except StoreFailed as error:
        raise Refused(f"the backup cannot be used: {error.message}", hint=_HINT) from error
    except duckdb.Error as error:
        raise Refused(f"the backup cannot be used: {error}", hint=_HINT) from error
    if copy.with_name(f"{copy.name}.wal").exists():
        raise Refused("the backup cannot be used: its log stays beside it", hint=_HINT)


def stage(database: Path, now: datetime, beside: Sequence[str] = ()) -> list[Path]:
    """Make the proven copy the database that will be; returns what will be kept, and where.

    Args:
        database: the file that is replaced at the next start.
        now: when, for the names.
        beside: folders in the database's folder that belong to the old database alone.
    """
    copy, when = arriving(database), _free(database, f"{now:%Y%m%dT%H%M%S}")
    files.replace(copy, database.with_name(f"{database.name}.restoring-{when}"))
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
) -> list[Path]:
    """Let the staged copy, if there is one, be the database.

    First everything that the old database is still owed is put into it. One that cannot be
    opened is kept as it is, and then what the spool holds goes to the new one.

    Args:
        database: the file that is replaced; its folder holds the staged copy.
        lock: of `held`.
        load: puts what the spool holds into a store, and takes it out of the spool.
        beside: as for `stage`.

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
        when = _free(database, when)
        _complete(database, lock, load)
    moves = [*_moves(database, when, beside)]
    for here, there in moves:
        if _worth_keeping(here) and not there.exists():
            files.move(here, there)
    files.replace(copy, database)
    return [there for _, there in moves if there.exists()]


def _complete(database: Path, lock: int, load: Callable[[Store], object]) -> None:
    """Put into the old database what was acknowledged, and finish what it began in the archive."""
    try:
        with contextlib.closing(open_store(database, os.dup(lock))) as store:
            load(store)
            with store.write() as con:
                archive.settle(con)
    except StoreFailed as error:
        log.warning(
            "the old database cannot be opened, so events of the spool go to the restored one: %s",
            error.message,
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
