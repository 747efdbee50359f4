"""After a start: which transactions of the redo log are missing in the database, repeated in order.

They are missing where DuckDB's write-ahead log was lost or damaged. What cannot be read or repeated
is kept apart and told. The same look finds a decision log whose end is not the one that was noted.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb

from flywheel.store import decisions, redo, seal, segments, spooled
from flywheel.store.columns import Connection
from flywheel.store.redo import Damaged, Entry, Mark, RedoLog, Step

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What a start found beside the database."""

    replayed: int = 0  # transactions
    lost: int = 0  # transactions that could not be read or repeated
    wal: str = ""  # name of the write-ahead log that could not be read and was set aside
    problems: tuple[str, ...] = ()  # sentences


@dataclass(slots=True)
class _Found:
    """What the log says, against where the database stands."""

    pending: dict[int, Entry]  # by number; of two with one number the later, which committed
    noted: list[tuple[str, int]]  # tips of the decision log with their events, oldest first
    damaged: list[bytes]
    foreign: bool = False  # of another database
    first: int | None = None  # number of the last transaction before the log begins
    last: int = -1  # number; -1: the log says nothing


def recover(con: Connection, path: Path, log_: RedoLog) -> Recovery:
    """Repeat what is missing, each transaction in one of its own, and compare the decision log.

    Args:
        con: no transaction is open.
        path: of the database.
        log_: its redo log; only the closed segments are read.

    Raises:
        StoreFailed, duckdb.Error: the database cannot be written.
    """
    stands = redo.position(con)
    if stands is None:
        return Recovery()
    found = _read(log_, stands)
    if found.foreign:
        return _set_aside(log_, "is of another database")
    if found.first is not None and found.first > stands.number:
        return _set_aside(
            log_,
            f"begins behind transaction {found.first}, and the database ends at {stands.number}",
        )
    failed = [number for number in sorted(found.pending) if not _repeat(con, path, found, number)]
    apart = [redo.line_of(found.pending[number]) for number in failed] + found.damaged
    if apart:
        log_.keep_apart(apart)
    lost = max(0, found.last - stands.number) - len(found.pending) + len(failed)
    problems = [*_unread(log_, lost, len(apart)), *_differing(con, log_, found, stands)]
    return Recovery(
        replayed=len(found.pending) - len(failed),
        lost=lost,
        problems=tuple(problems),
    )


def _read(log_: RedoLog, stands: Mark) -> _Found:
    found = _Found(pending={}, noted=[], damaged=[])
    for line in log_.lines():
        if isinstance(line, Damaged):
            found.damaged.append(line.line)
            continue
        if isinstance(line, Mark):
            found.foreign = found.foreign or line.database != stands.database
            found.noted.append((line.tip, line.events))
        else:
            if line.tip:
                found.noted.append((line.tip, line.events))
            if line.number > stands.number:
                found.pending[line.number] = line
        if found.first is None:
            found.first = line.number - isinstance(line, Entry)
        found.last = max(found.last, line.number)
    return found


def _repeat(con: Connection, path: Path, found: _Found, number: int) -> bool:
    """Repeat one transaction; False where it cannot be, and then only its number is written."""
    con.execute("BEGIN TRANSACTION")
    try:
        for step in found.pending[number].steps:
            _take(con, path, step)
        redo.advance(con, number)
        con.execute("COMMIT")
    except (duckdb.Error, ValueError, KeyError, OSError) as error:
        if isinstance(error, duckdb.FatalException):
            raise
        con.execute("ROLLBACK")
        log.error(  # noqa: TRY400  the error's words may hold a user's text
            "transaction %d could not be repeated: %s",
            number,
            type(error).__name__,
            extra={"event": "redo.not_applied", "number": number},
        )
        redo.advance(con, number)
        return False
    return True


def _take(con: Connection, path: Path, step: Step) -> None:
    kind, *rest = step
    if kind == "run":
        con.execute(rest[0], redo.bound(rest[1])).fetchall()
    elif kind == "show":
        con.register(rest[0], redo.rows_of(rest[1]))
    elif kind == "hide":
        con.unregister(rest[0])
    elif kind == "load":
        folder = path.parent / segments.FOLDER
        paths = [folder / name for name in rest[0]]  # a missing one is an OSError
        for one in paths:
            one.stat()
        spooled.load(con, paths, segments.read(con, paths))
    else:
        raise ValueError(f"there is no step {kind}")


def _unread(log_: RedoLog, lost: int, apart: int) -> Iterator[str]:
    where = f"what is left of them is in {log_.folder / redo.NOT_APPLIED}"
    if lost:
        yield (
            f"{lost} transactions of the redo log could not be read or repeated: {where}; "
            "look with `flywheel log` what is missing, and send it again"
        )
    elif apart:
        yield f"{apart} lines of the redo log are damaged, and nothing before them is lost: {where}"


def _differing(con: Connection, log_: RedoLog, found: _Found, stood: Mark) -> Iterator[str]:
    """What the log's end and the noted tip say otherwise than the database."""
    if found.last < 0 and stood.number:
        yield (
            f"the redo log {log_.folder} is gone or unreadable, so nobody can tell whether the "
            "database lost its end: compare the tip that `flywheel db check` prints with yours"
        )
    elif found.last < stood.number:
        yield (
            f"the redo log ends at transaction {found.last}, and the database at {stood.number}: "
            "the log's end was cut off; the database is whole"
        )
    if not found.noted:
        return
    tip, events = found.noted[-1]
    chain = decisions.check_chain(con)
    if chain.tip != tip and tip not in seal.links(con):
        yield (
            f"the decision log has {chain.events} events, and the {events} noted beside it end "
            "otherwise: its end was cut off or rewritten; see `flywheel db check`"
        )


def _set_aside(log_: RedoLog, why: str) -> Recovery:
    kept = log_.set_aside()
    words = f"the redo log {why}: it was not used, and is kept as {kept.name}"
    return Recovery(problems=(words,))
