"""Decisions and the log of their events; nothing is ever overwritten.

A decision's status is that of its last event. The events form a chain of hashes, which shows
whether the log was rewritten, and they are the queue from which hooks are told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from flywheel.content import canonical
from flywheel.errors import NotFound
from flywheel.records import Decision, DecisionEvent, DecisionStatus, GateResult, IntentVerdict
from flywheel.store.columns import (
    Connection,
    Row,
    changed,
    first_row,
    moment,
    pack,
    records,
    scalar,
    stamp,
    unpack,
)

# Has anybody rewritten the decision log?
#
# Each event carries the hash of the one before, and its own hash over what it says; the first event
# of a decision covers the decision itself. An event without a decision is what somebody did. A
# changed, missing or inserted event breaks the chain there. A chain cannot know that its end was
# cut off: note `tip` somewhere else to see that too.

START = ""
"""What the first event of all carries as the hash before it."""

_ALL = """
    SELECT e.*, d.number AS known, d.turn, d.challenger, d.champion, d.verdict, d.decided_at,
        d.gates, d.intents, d.rests_on,
        e.decision IS NOT NULL
            AND row_number() OVER (PARTITION BY e.decision ORDER BY e.number) = 1 AS opening
    FROM decision_events AS e LEFT JOIN decisions AS d ON d.id = e.decision
    ORDER BY e.number
"""

_LAST = "SELECT hash FROM decision_events ORDER BY number DESC LIMIT 1"

_SILENT = """
    SELECT id FROM decisions
    WHERE id NOT IN (SELECT decision FROM decision_events WHERE decision IS NOT NULL)
    ORDER BY number
"""

_EVENT = ("number", "decision", "what", "status", "actor", "because", "happened_at")
DECISION = (
    "turn",
    "challenger",
    "champion",
    "verdict",
    "decided_at",
    "gates",
    "intents",
    "rests_on",
)
"""Columns of a decision that its first event covers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """The state of the whole log."""

    events: int
    tip: str  # hash of the last event; "" without any
    problems: tuple[str, ...]  # empty: nothing was changed since it was written


def chain_link(previous: str, event: Sequence[Any], decision: Sequence[Any] | None) -> str:
    """Return the hash of an event.

    Args:
        previous: hash of the event before; `START` for the first.
        event: number, decision, what, status, actor, because, happened_at as stored.
        decision: `DECISION` as stored, in the decision's first event; None in later ones.
    """
    said = [previous, _plain(event), None if decision is None else _plain(decision)]
    return hashlib.sha256(canonical(said).encode("utf-8", "surrogatepass")).hexdigest()


def chain_tip(con: Connection) -> str:
    """Return what the next event carries as the hash of the one before."""
    stored = scalar(con, _LAST)
    return stored if stored is not None else check_chain(con).tip


def check_chain(con: Connection) -> Chain:
    """Recompute every hash from what is stored."""
    previous, count, chained = START, 0, False
    problems: list[str] = []
    for row in records(con, _ALL):
        count += 1
        found = _judged(row, previous, count, chained=chained)
        event = f"event {row['number']} of {row['decision'] or 'no decision'}"
        problems += [f"{event}: {text}" for text in found]
        chained = chained or row["hash"] is not None
        previous = row["hash"] or _hash(row, previous)
    silent = con.execute(_SILENT).fetchall()
    problems += [f"{name}: the decision has no event" for (name,) in silent]
    return Chain(events=count, tip=previous, problems=tuple(problems))


def _judged(row: Row, previous: str, place: int, *, chained: bool) -> list[str]:
    found = []
    if row["number"] != place:
        found.append(f"stands at place {place}")
    if row["known"] is None and row["decision"] is not None:
        found.append("its decision is missing")
    if row["hash"] is None:
        return [*found, "has no hash, yet one before it has"] if chained else found
    if row["previous"] != previous:
        found.append("does not follow the event before it")
    if row["hash"] != _hash(row, row["previous"] or ""):
        found.append("was changed after it was written")
    return found


def _hash(row: Row, previous: str) -> str:
    decision = [row[name] for name in DECISION] if row["opening"] else None
    return chain_link(previous, [row[name] for name in _EVENT], decision)


def _plain(cells: Sequence[Any]) -> list[Any]:
    """Cells as JSON; times as stored, UTC without a zone."""
    return [cell.isoformat() if hasattr(cell, "isoformat") else cell for cell in cells]


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


FILES = "challenger_files"
"""Key of `rests_on`: id of the hashes that the challenger's files had when it was judged."""

_JUDGED = """
    SELECT id, rests_on FROM decisions WHERE challenger = ? AND verdict <> 'rollback'
    ORDER BY number DESC
"""

_LATER = """
    SELECT id, gates FROM decisions
    WHERE challenger = $1 AND number > (SELECT number FROM decisions WHERE id = $2)
    ORDER BY number DESC
"""

_ACTS = """
    SELECT number, happened_at AS "at", actor AS "by", what, because
    FROM decision_events WHERE decision IS NULL ORDER BY number DESC LIMIT ?
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


def waiting(con: Connection) -> list[Decision]:
    """Return every decision that is not settled, newest first: pending, or being applied."""
    found = [*list_decisions(con, status="pending"), *list_decisions(con, status="applying")]
    return sorted(found, key=lambda one: int(one.id.partition("-")[2] or 0), reverse=True)


def applying(con: Connection) -> Decision | None:
    """Return the decision that is being applied; there is one at a time at most."""
    found = list_decisions(con, status="applying", limit=1)
    return found[0] if found else None


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


def record_act(con: Connection, what: str, by: str, because: str, at: datetime) -> None:
    """Add an event that belongs to no decision: something that somebody did, or tried to do.

    Args:
        con: the write transaction of what was done.
        what: kind of act, such as "golden.imported".
        by: the actor.
        because: ids, counts and reasons in words; never the text of a user.
        at: when, UTC.
    """
    _append(con, [None, what, "", by, because, stamp(at)], None)


def acts(con: Connection, limit: int = 50) -> list[dict[str, Any]]:
    """Return the newest events of no decision, newest first: {number, at, by, what, because}."""
    return [{**row, "at": moment(row["at"])} for row in records(con, _ACTS, [limit])]


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
    previous = chain_tip(con)
    con.execute(_ADD_EVENT, [*numbered, previous, chain_link(previous, numbered, decision)])


def events(con: Connection, decision_id: str) -> list[dict[str, Any]]:
    """Return what happened to a decision: {at, by, what, because}, oldest first.

    `what` is the verdict in the first event and the new status in every later one.
    """
    return [{**row, "at": moment(row["at"])} for row in records(con, _EVENTS, [decision_id])]


def judged_files(con: Connection, adapter: str) -> tuple[str, str]:
    """Return the newest decision that judged an adapter, and the id of its files' hashes then.

    ("", "") for an adapter that nobody judged, or that an earlier version did.
    """
    for row in records(con, _JUDGED, [adapter]):
        if files := unpack(row["rests_on"]).get(FILES):
            return str(row["id"]), str(files)
    return "", ""


def leaked_later(con: Connection, decision: Decision) -> str:
    """Return the newest later decision in which the same adapter failed hygiene; "" without one."""
    for row in records(con, _LATER, [decision.challenger, decision.id]):
        if any(g["gate"] == "hygiene" and g["verdict"] == "FAIL" for g in unpack(row["gates"])):
            return str(row["id"])
    return ""


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


# How far each hook was told of the decision events; the events themselves are the queue.

_START = """
    INSERT INTO hook_cursors
    SELECT $hook, (SELECT coalesce(max(number), 0) FROM decision_events)
    WHERE NOT EXISTS (SELECT 1 FROM hook_cursors WHERE hook = $hook)
"""

_WAITING = """
    SELECT e.number, e.decision, e.what, e.status, e.actor AS "by", e.because,
        e.happened_at AS "at", d.turn, d.challenger, d.champion, d.verdict, d.rests_on
    FROM decision_events AS e LEFT JOIN decisions AS d ON d.id = e.decision
    WHERE e.number > (SELECT number FROM hook_cursors WHERE hook = ?) ORDER BY e.number
"""

PARITY_FAILED = "parity.failed"
"""`what` of the act by which the champion was found to answer otherwise than evaluated."""

PARITY_PASSED = "parity.passed"
"""The same, once it answers as evaluated again."""


HARM = "watch.harm"
"""`what` of the act by which a watched champion was found to do harm."""


def untold_events(con: Connection, hook: str) -> list[dict[str, Any]]:
    """Return the events that a hook was not told, oldest first.

    Each has `event`: held, promoted, rejected, rolled_back, parity_failed, harm, or "" for what no
    hook is told. An event of no decision, such as of a champion that answers otherwise than
    evaluated, has no challenger either. A hook that is asked for the first time starts with what
    comes next.
    """
    con.execute(_START, {"hook": hook})
    found = []
    for row in records(con, _WAITING, [hook]):
        waits_for = unpack(row.pop("rests_on") or "{}").get("waits_for", "a person")
        found.append({**row, "event": _named(row, waits_for), "at": moment(row["at"]).isoformat()})
    return found


def set_told(con: Connection, hook: str, number: int) -> None:
    """Note that a hook was told of every event up to this one."""
    changed(con, "UPDATE hook_cursors SET number = ? WHERE hook = ?", [number, hook])


def _named(row: dict[str, Any], waits_for: str) -> str:
    if row["status"] == "applied":
        return "rolled_back" if row["verdict"] == "rollback" else "promoted"
    if row["status"] in ("rejected", "parity_failed"):
        return str(row["status"])
    if row["decision"] is None:
        return {PARITY_FAILED: "parity_failed", HARM: "harm"}.get(row["what"], "")
    first = row["what"] == row["verdict"] and row["verdict"] != "rollback"
    waits = row["what"] == WAITS or (first and waits_for != "nobody")
    return "held" if row["status"] == "pending" and waits else ""
