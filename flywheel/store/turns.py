"""Turns of the loop and their steps: what runs, what it left for the next step, what is next.

A step's outputs and the turn's next state are written by one call, `finish_step`; put it in the
transaction of the step's other effects and a crash repeats one step and nothing else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import msgspec

from flywheel.errors import NotFound
from flywheel.records import TurnRecord
from flywheel.store.columns import (
    Connection,
    Row,
    changed,
    moment,
    moment_or_none,
    pack,
    records,
    scalar,
    stamp,
    unpack,
)

ENDED = frozenset({"done", "failed", "cancelled", "held"})
"""States in which nothing runs; a held turn waits for a person or for labels."""

_OPEN = """
    INSERT INTO turns
    SELECT n, 't-' || n, ?, ?, ?::TIMESTAMP, NULL, 0, NULL, NULL, '{}'
    FROM (SELECT coalesce(max(number), 0) + 1 AS n FROM turns)
"""

_SET = """
    UPDATE turns SET state = ?, closed_at = ?, cursor = ?, cost_usd = cost_usd + ? WHERE id = ?
"""

_RESTART_STEP = """
    UPDATE steps SET state = 'running', started_at = ?, seconds = NULL, detail = ''
    WHERE turn = ? AND name = ?
"""

_FIRST_START_STEP = """
    INSERT INTO steps
    SELECT $1, count(*), $2, 'running', $3::TIMESTAMP, NULL, '' FROM steps WHERE turn = $1
"""

_STOP_STEP = """
    UPDATE steps SET state = 'cancelled', seconds = epoch($1::TIMESTAMP - started_at)
    WHERE turn = $2 AND state = 'running'
"""

_FINISH_STEP = """
    UPDATE steps SET state = $1, seconds = epoch($2::TIMESTAMP - started_at), detail = $3
    WHERE turn = $4 AND name = $5
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One revolution of the loop."""

    id: str  # "t-1", "t-2" …
    state: str  # the step to run next, or one of ENDED
    trigger: str
    opened_at: datetime
    closed_at: datetime | None  # None while the state is not in ENDED
    cost_usd: float
    decision: str | None
    error: str | None
    record: TurnRecord  # outputs of the steps so far, for later steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a turn; a step that ran again shows its last run."""

    name: str
    state: Literal["running", "done", "failed", "skipped", "cancelled"]
    started_at: datetime
    seconds: float | None  # None while running
    detail: str


ERASURE = "erasure"
"""Trigger of a turn that learns anew without a person: nothing is diagnosed, nothing is bought."""


def open_turn(con: Connection, trigger: str, at: datetime, first_state: str) -> Turn:
    """Open the next turn; whether one may be opened now is not asked here."""
    con.execute(_OPEN, [first_state, trigger, stamp(at)])
    return _turn(records(con, "SELECT * FROM turns ORDER BY number DESC LIMIT 1")[0])


def get(con: Connection, turn_id: str) -> Turn:
    """Return a turn.

    Raises:
        NotFound: there is no such turn.
    """
    found = records(con, "SELECT * FROM turns WHERE id = ?", [turn_id])
    if not found:
        raise NotFound(f"there is no turn {turn_id}", hint="`flywheel turn list` shows them")
    return _turn(found[0])


def open_turns(con: Connection) -> list[Turn]:
    """Return the turns that have not ended, oldest first."""
    sql = "SELECT * FROM turns WHERE closed_at IS NULL ORDER BY number"
    return [_turn(row) for row in records(con, sql)]


def held_turns(con: Connection) -> list[Turn]:
    """Return the turns that wait for a person or for labels, oldest first."""
    sql = "SELECT * FROM turns WHERE state = 'held' ORDER BY number"
    return [_turn(row) for row in records(con, sql)]


def opened_between(con: Connection, since: datetime, until: datetime) -> int:
    """Return how many turns were opened after `since` and not after `until`."""
    sql = "SELECT count(*) FROM turns WHERE opened_at > ? AND opened_at <= ?"
    return int(scalar(con, sql, [stamp(since), stamp(until)]))


def list_turns(con: Connection, limit: int = 50) -> list[Turn]:
    """Return the newest turns, newest first."""
    sql = "SELECT * FROM turns ORDER BY number DESC LIMIT ?"
    return [_turn(row) for row in records(con, sql, [limit])]


def steps(con: Connection, turn_id: str) -> list[Step]:
    """Return the steps of a turn in the order of their first start."""
    sql = """
        SELECT name, state, started_at, seconds, detail
        FROM steps WHERE turn = ? ORDER BY position
    """
    found = records(con, sql, [turn_id])
    return [Step(**{**row, "started_at": moment(row["started_at"])}) for row in found]


def start_step(con: Connection, turn_id: str, name: str, at: datetime) -> None:
    """Note that a step runs, for the first time or again."""
    if not changed(con, _RESTART_STEP, [stamp(at), turn_id, name]):
        con.execute(_FIRST_START_STEP, [turn_id, name, stamp(at)])


def finish_step(
    con: Connection,
    turn_id: str,
    name: str,
    at: datetime,
    *,
    state: Literal["done", "failed", "skipped"],
    detail: str,
    next_state: str,
    outputs: Callable[[TurnRecord], TurnRecord] = lambda record: record,
    cost_usd: float = 0.0,
) -> None:
    """Note a step's end, put its outputs into the turn's record, and set what comes next.

    Args:
        con: the write transaction that holds the step's other effects.
        turn_id: its turn.
        name: of the step; one that never started is noted with zero seconds.
        at: when it ended.
        state: how it ended.
        detail: one phrase for a person.
        next_state: the step to run next; one of `ENDED` closes the turn.
        outputs: returns the record with the step's own fields set. It is given the record as it
            is stored now, which an erasure may have changed since the step began.
        cost_usd: added to the turn's cost.

    Raises:
        NotFound: there is no such turn.
    """
    turn = get(con, turn_id)
    ended = [state, stamp(at), detail, turn_id, name]
    if not changed(con, _FINISH_STEP, ended):
        start_step(con, turn_id, name, at)
        con.execute(_FINISH_STEP, ended)
    closed = stamp(at) if next_state in ENDED else None
    record = pack(_as_json(outputs(turn.record)))
    con.execute(_SET, [next_state, closed, record, cost_usd, turn_id])


def reopen(con: Connection, turn_id: str, state: str) -> None:
    """Let an ended turn go on with the step `state`.

    Raises:
        NotFound: there is no such turn.
    """
    sql = "UPDATE turns SET state = ?, closed_at = NULL, error = NULL WHERE id = ?"
    _one(changed(con, sql, [state, turn_id]), turn_id)


def close(
    con: Connection,
    turn_id: str,
    at: datetime,
    state: Literal["done", "failed", "cancelled", "held"],
    error: str | None = None,
) -> None:
    """End a turn; a step that was running counts as cancelled.

    Raises:
        NotFound: there is no such turn.
    """
    con.execute(_STOP_STEP, [stamp(at), turn_id])
    sql = "UPDATE turns SET state = ?, closed_at = ?, error = ? WHERE id = ?"
    _one(changed(con, sql, [state, stamp(at), error, turn_id]), turn_id)


def set_decision(con: Connection, turn_id: str, decision_id: str) -> None:
    """Name the decision a turn came to.

    Raises:
        NotFound: there is no such turn.
    """
    sql = "UPDATE turns SET decision = ? WHERE id = ?"
    _one(changed(con, sql, [decision_id, turn_id]), turn_id)


def last_slot(con: Connection, schedule: str) -> datetime | None:
    """Return the last slot of a schedule that was served; None when none was."""
    sql = "SELECT max(slot) FROM schedule_slots WHERE schedule = ?"
    return moment_or_none(scalar(con, sql, [schedule]))


def record_slot(con: Connection, schedule: str, slot: datetime) -> bool:
    """Note that a slot is served; False when it was served before."""
    sql = """
        INSERT INTO schedule_slots SELECT $1, $2::TIMESTAMP
        WHERE NOT EXISTS (SELECT 1 FROM schedule_slots WHERE schedule = $1 AND slot = $2)
    """
    return changed(con, sql, [schedule, stamp(slot)]) == 1


def _one(touched: int, turn_id: str) -> None:
    if not touched:
        raise NotFound(f"there is no turn {turn_id}", hint="`flywheel turn list` shows them")


def _turn(row: Row) -> Turn:
    return Turn(
        id=row["id"],
        state=row["state"],
        trigger=row["trigger"],
        opened_at=moment(row["opened_at"]),
        closed_at=moment_or_none(row["closed_at"]),
        cost_usd=row["cost_usd"],
        decision=row["decision"],
        error=row["error"],
        record=_record(unpack(row["cursor"])),
    )


def _record(stored: Mapping[str, Any]) -> TurnRecord:
    """The record of a turn; a field that does not read as its type keeps its default.

    An earlier version may have stored it in another form, and an erasure blanks texts.
    """
    try:
        return msgspec.convert(stored, TurnRecord, strict=False)
    except msgspec.ValidationError:
        readable: dict[str, Any] = {}
        for name, value in stored.items():
            with contextlib.suppress(msgspec.ValidationError):
                msgspec.convert({name: value}, TurnRecord, strict=False)
                readable[name] = value
        return msgspec.convert(readable, TurnRecord, strict=False)


def _as_json(record: TurnRecord) -> dict[str, Any]:
    """The fields that were set."""
    values: dict[str, Any] = msgspec.to_builtins(record)
    return {name: value for name, value in values.items() if value != _UNSET[name]}


_UNSET: Mapping[str, Any] = msgspec.to_builtins(TurnRecord())
# msgspec looks a class up by what it found of it first. Two threads that ask first at the same time
# end the process: one reads what the other is still writing. So it is asked here, by one.
msgspec.convert(_UNSET, TurnRecord)
