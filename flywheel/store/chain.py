"""Has anybody rewritten the decision log?

Each event carries the hash of the one before, and its own hash over what it says; the first event
of a decision covers the decision itself. A changed, missing or inserted event breaks the chain
there. A chain cannot know that its end was cut off: note `tip` somewhere else to see that too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flywheel.content import canonical
from flywheel.store.columns import Connection, Row, records, scalar

START = ""
"""What the first event of all carries as the hash before it."""

_ALL = """
    SELECT e.*, d.number AS known, d.turn, d.challenger, d.champion, d.verdict, d.decided_at,
        d.gates, d.intents, d.rests_on,
        row_number() OVER (PARTITION BY e.decision ORDER BY e.number) = 1 AS opening
    FROM decision_events AS e LEFT JOIN decisions AS d ON d.id = e.decision
    ORDER BY e.number
"""

_LAST = "SELECT hash FROM decision_events ORDER BY number DESC LIMIT 1"

_SILENT = """
    SELECT id FROM decisions
    WHERE id NOT IN (SELECT decision FROM decision_events) ORDER BY number
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


def link(previous: str, event: Sequence[Any], decision: Sequence[Any] | None) -> str:
    """Return the hash of an event.

    Args:
        previous: hash of the event before; `START` for the first.
        event: number, decision, what, status, actor, because, happened_at as stored.
        decision: `DECISION` as stored, in the decision's first event; None in later ones.
    """
    said = [previous, _plain(event), None if decision is None else _plain(decision)]
    return hashlib.sha256(canonical(said).encode("utf-8", "surrogatepass")).hexdigest()


def tip(con: Connection) -> str:
    """Return what the next event carries as the hash of the one before."""
    stored = scalar(con, _LAST)
    return stored if stored is not None else check(con).tip


def check(con: Connection) -> Chain:
    """Recompute every hash from what is stored."""
    previous, count, chained = START, 0, False
    problems: list[str] = []
    for row in records(con, _ALL):
        count += 1
        found = _judged(row, previous, count, chained=chained)
        problems += [f"event {row['number']} of {row['decision']}: {text}" for text in found]
        chained = chained or row["hash"] is not None
        previous = row["hash"] or _hash(row, previous)
    silent = con.execute(_SILENT).fetchall()
    problems += [f"{name}: the decision has no event" for (name,) in silent]
    return Chain(events=count, tip=previous, problems=tuple(problems))


def _judged(row: Row, previous: str, place: int, *, chained: bool) -> list[str]:
    found = []
    if row["number"] != place:
        found.append(f"stands at place {place}")
    if row["known"] is None:
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
    return link(previous, [row[name] for name in _EVENT], decision)


def _plain(cells: Sequence[Any]) -> list[Any]:
    """Cells as JSON; times as stored, UTC without a zone."""
    return [cell.isoformat() if hasattr(cell, "isoformat") else cell for cell in cells]
