"""Decisions and everything that happened to them; nothing is ever overwritten.

A decision's status is that of its last event. Events form a chain of hashes: `chain`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from flywheel.errors import NotFound
from flywheel.records import Decision, DecisionEvent, DecisionStatus, GateResult, IntentVerdict
from flywheel.store import chain
from flywheel.store.columns import (
    Connection,
    Row,
    first_row,
    moment,
    pack,
    records,
    scalar,
    stamp,
    unpack,
)

_ADD = """
    INSERT INTO decisions
    SELECT coalesce(max(number), 0) + 1, ?, ?, ?, ?, ?, ?::TIMESTAMP, ?, ?, ? FROM decisions
"""

_ADD_EVENT = "INSERT INTO decision_events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"

_NEXT_EVENT = "SELECT coalesce(max(number), 0) + 1 FROM decision_events"

_RAW = """
    SELECT d.gates, d.intents, d.verdict, e.status, e.actor, e.because, d.rests_on
    FROM decisions AS d JOIN decision_events AS e ON e.decision = d.id
    WHERE d.id = ? ORDER BY e.number LIMIT 1
"""

_LIST = """
    SELECT d.*, e.status, e.actor, e.because
    FROM decisions AS d
    JOIN (
        SELECT * FROM decision_events
        QUALIFY row_number() OVER (PARTITION BY decision ORDER BY number DESC) = 1
    ) AS e ON e.decision = d.id
    WHERE ($1 IS NULL OR d.id = $1) AND ($2 IS NULL OR e.status = $2)
    ORDER BY d.number DESC LIMIT $3
"""

_EVENTS = """
    SELECT happened_at AS "at", actor AS "by", what, because
    FROM decision_events WHERE decision = ? ORDER BY number
"""


WAITS = "waits for a person"
"""`what` of the event by which a promotion, decided already, comes to wait."""

# Earlier versions gave the first of two approvals the status of the rejection that it lifts.
_SETTLING = """
    SELECT e.decision, d.verdict, d.challenger, d.champion, e.status, e.actor AS "by"
    FROM decision_events AS e JOIN decisions AS d ON d.id = e.decision
    WHERE e.status IN ('applied', 'rejected') AND e.what NOT LIKE 'approved%' ORDER BY e.number
"""


def next_id(con: Connection) -> str:
    """Return the id for the next decision, "d-1" for the first."""
    number = scalar(con, "SELECT coalesce(max(number), 0) + 1 FROM decisions")
    return f"d-{number}"


def add(con: Connection, decision: Decision) -> None:
    """Record a decision and its first event.

    Raises:
        ValueError: its id is taken.
    """
    if scalar(con, "SELECT count(*) FROM decisions WHERE id = ?", [decision.id]):
        raise ValueError(f"decision {decision.id} is recorded already")
    cells = [
        decision.id,
        decision.turn,
        decision.challenger,
        decision.champion,
        decision.verdict,
        stamp(decision.at),
        pack([asdict(gate) for gate in decision.gates]),
        pack([asdict(intent) for intent in decision.intents]),
        pack(decision.rests_on),
    ]
    con.execute(_ADD, cells)
    event = [decision.id, decision.verdict, decision.status, decision.by, decision.because]
    _append(con, [*event, stamp(decision.at)], cells[1:])


def get(con: Connection, decision_id: str) -> Decision:
    """Return a decision as it stands: `at` is when it was made; `status`, `by` and `because`
    are those of its last event.

    Raises:
        NotFound: there is no such decision.
    """
    found = records(con, _LIST, [decision_id, None, 1])
    if not found:
        raise NotFound(
            f"there is no decision {decision_id}", hint="`flywheel review list` shows them"
        )
    return _decision(found[0])


def list_decisions(
    con: Connection, status: DecisionStatus | None = None, limit: int = 50
) -> list[Decision]:
    """Return the newest decisions, newest first, of one status or of all."""
    return [_decision(row) for row in records(con, _LIST, [None, status, limit])]


def set_status(
    con: Connection,
    decision_id: str,
    status: DecisionStatus,
    by: str,
    because: str,
    at: datetime,
    what: str = "",
) -> None:
    """Add an event that gives a decision its next status; `what` says more than the status.

    Raises:
        NotFound: there is no such decision.
    """
    get(con, decision_id)
    _append(con, [decision_id, what or status, status, by, because, stamp(at)], None)


def add_grounds(
    con: Connection, decision_id: str, turn: str, revision: int, grounds: Mapping[str, Any]
) -> None:
    """Keep what a decision was judged on, beside the outcomes of its turn's revision."""
    con.execute(
        "INSERT INTO decision_grounds VALUES (?, ?, ?, ?)",
        [decision_id, turn, revision, pack(grounds)],
    )


def grounds(con: Connection, decision_id: str) -> tuple[str, int, dict[str, Any]] | None:
    """Return (turn, revision, grounds); None for a decision that nobody judged, or an old one."""
    sql = "SELECT turn, revision, grounds FROM decision_grounds WHERE decision = ?"
    found = first_row(con, sql, [decision_id])
    return (found[0], found[1], unpack(found[2])) if found else None


def as_written(con: Connection, decision_id: str) -> dict[str, Any]:
    """Return the decision's first words as stored: gates and intents as text, verdict, status,
    actor, because, and rests_on as text.

    Raises:
        NotFound: there is no such decision.
    """
    get(con, decision_id)
    return records(con, _RAW, [decision_id])[0]


def _append(con: Connection, event: Sequence[Any], decision: Sequence[Any] | None) -> None:
    """Write the next event with the hash of the one before; `decision` in its first event."""
    numbered = [scalar(con, _NEXT_EVENT), *event]
    previous = chain.tip(con)
    con.execute(_ADD_EVENT, [*numbered, previous, chain.link(previous, numbered, decision)])


def events(con: Connection, decision_id: str) -> list[dict[str, Any]]:
    """Return what happened to a decision: {at, by, what, because}, oldest first.

    `what` is the verdict in the first event and the new status in every later one.
    """
    return [{**row, "at": moment(row["at"])} for row in records(con, _EVENTS, [decision_id])]


def settling_events(con: Connection) -> list[DecisionEvent]:
    """Return every event that applied or rejected something, oldest first."""
    return [DecisionEvent(**row) for row in records(con, _SETTLING)]


def _decision(row: Row) -> Decision:
    return Decision(
        id=row["id"],
        turn=row["turn"],
        challenger=row["challenger"],
        champion=row["champion"],
        verdict=row["verdict"],
        status=row["status"],
        by=row["actor"],
        because=row["because"],
        at=moment(row["decided_at"]),
        gates=tuple(GateResult(**gate) for gate in unpack(row["gates"])),
        intents=tuple(IntentVerdict(**intent) for intent in unpack(row["intents"])),
        rests_on=unpack(row["rests_on"]),
    )
