"""How far each hook was told of the decision events; the events themselves are the queue."""

from __future__ import annotations

from typing import Any

from flywheel.store.columns import Connection, changed, moment, records, unpack
from flywheel.store.decisions import WAITS

_START = """
    INSERT INTO hook_cursors
    SELECT $hook, (SELECT coalesce(max(number), 0) FROM decision_events)
    WHERE NOT EXISTS (SELECT 1 FROM hook_cursors WHERE hook = $hook)
"""

_WAITING = """
    SELECT e.number, e.decision, e.what, e.status, e.actor AS "by", e.because,
        e.happened_at AS "at", d.turn, d.challenger, d.champion, d.verdict, d.rests_on
    FROM decision_events AS e JOIN decisions AS d ON d.id = e.decision
    WHERE e.number > (SELECT number FROM hook_cursors WHERE hook = ?) ORDER BY e.number
"""


def waiting(con: Connection, hook: str) -> list[dict[str, Any]]:
    """Return the decision events that a hook was not told, oldest first.

    Each has `event`: held, promoted, rejected, rolled_back, or "" for what no hook is told. A
    hook that is asked for the first time starts with what comes next.
    """
    con.execute(_START, {"hook": hook})
    found = []
    for row in records(con, _WAITING, [hook]):
        waits_for = unpack(row.pop("rests_on")).get("waits_for", "a person")
        found.append({**row, "event": _named(row, waits_for), "at": moment(row["at"]).isoformat()})
    return found


def advance(con: Connection, hook: str, number: int) -> None:
    """Note that a hook was told of every event up to this one."""
    changed(con, "UPDATE hook_cursors SET number = ? WHERE hook = ?", [number, hook])


def _named(row: dict[str, Any], waits_for: str) -> str:
    if row["status"] == "applied":
        return "rolled_back" if row["verdict"] == "rollback" else "promoted"
    if row["status"] == "rejected":
        return "rejected"
    first = row["what"] == row["verdict"] and row["verdict"] != "rollback"
    waits = row["what"] == WAITS or (first and waits_for != "nobody")
    return "held" if row["status"] == "pending" and waits else ""
