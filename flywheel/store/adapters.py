"""The registry of adapters, who was champion when, and what each answered in evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import pyarrow

from flywheel.errors import NotFound
from flywheel.records import Adapter, Outcome, Report
from flywheel.store.columns import (
    FLAG,
    REAL,
    TEXT,
    Connection,
    Row,
    arriving,
    changed,
    moment,
    pack,
    records,
    scalar,
    stamp,
    table,
    unpack,
)

_ADD = """
    INSERT INTO adapters
    SELECT (SELECT coalesce(max(number), 0) + 1 FROM adapters),
        $1, $2, $3, $4, $5, $6::TIMESTAMP, $7, $8, $9
    WHERE NOT EXISTS (SELECT 1 FROM adapters WHERE id = $1)
"""

_CHAMPION = "SELECT adapter FROM champions ORDER BY number DESC LIMIT 1"

# Rolling back twice goes back two champions, not to and fro between two.
_PREVIOUS = """
    SELECT adapter FROM champions
    WHERE number < (
        SELECT min(number) FROM champions
        WHERE adapter = (SELECT adapter FROM champions ORDER BY number DESC LIMIT 1)
    )
    ORDER BY number DESC LIMIT 1
"""

_CROWN = """
    INSERT INTO champions
    SELECT coalesce(max(number), 0) + 1, ?, ?, ?::TIMESTAMP FROM champions
"""


def add(con: Connection, adapter: Adapter) -> bool:
    """Register an adapter; False when its id is known, and then nothing changes."""
    cells = [
        adapter.id,
        adapter.base,
        adapter.recipe,
        adapter.dataset,
        adapter.parent,
        stamp(adapter.created_at),
        adapter.state,
        pack(adapter.metrics),
        pack(adapter.files),
    ]
    return changed(con, _ADD, cells) == 1


def get(con: Connection, adapter_id: str) -> Adapter:
    """Return an adapter.

    Raises:
        NotFound: there is no such adapter.
    """
    found = records(con, "SELECT * FROM adapters WHERE id = ?", [adapter_id])
    if not found:
        raise _unknown(adapter_id)
    return _adapter(found[0])


def list_adapters(con: Connection) -> list[Adapter]:
    """Return all adapters, newest first."""
    return [_adapter(row) for row in records(con, "SELECT * FROM adapters ORDER BY number DESC")]


def set_state(con: Connection, adapter_id: str, state: str) -> None:
    """Set an adapter's state.

    Raises:
        NotFound: there is no such adapter.
    """
    if not changed(con, "UPDATE adapters SET state = ? WHERE id = ?", [state, adapter_id]):
        raise _unknown(adapter_id)


def set_files(con: Connection, adapter_id: str, files: Mapping[str, str]) -> None:
    """Register the SHA-256 of each file of an adapter.

    Raises:
        NotFound: there is no such adapter.
    """
    if not changed(con, "UPDATE adapters SET files = ? WHERE id = ?", [pack(files), adapter_id]):
        raise _unknown(adapter_id)


def champion(con: Connection) -> str | None:
    """Return the id of the adapter in service; None when there is none."""
    adapter = scalar(con, _CHAMPION)
    return None if adapter is None else str(adapter)


def champion_since(con: Connection) -> datetime | None:
    """Return since when the champion is that; None where there is none."""
    since = scalar(con, "SELECT since FROM champions ORDER BY number DESC LIMIT 1")
    return None if since is None else moment(since)


def set_champion(con: Connection, adapter_id: str, decision_id: str | None, at: datetime) -> None:
    """Make an adapter the champion, by a decision; None: production's own, by an import.

    The states follow: the new one becomes champion, the one before it retired. An external
    model stays external. An adapter that is champion already changes nothing.

    Raises:
        NotFound: there is no such adapter.
    """
    if adapter_id == champion(con):
        return
    get(con, adapter_id)
    con.execute("UPDATE adapters SET state = 'retired' WHERE state = 'champion'")
    con.execute(
        "UPDATE adapters SET state = 'champion' WHERE id = ? AND state <> 'external'", [adapter_id]
    )
    con.execute(_CROWN, [adapter_id, decision_id, stamp(at)])


def previous_champion(con: Connection) -> str | None:
    """Return the champion before the present one first served; None when there was none."""
    adapter = scalar(con, _PREVIOUS)
    return None if adapter is None else str(adapter)


def has_served(con: Connection, adapter_id: str) -> bool:
    """Whether an adapter was ever champion."""
    return bool(scalar(con, "SELECT count(*) FROM champions WHERE adapter = ?", [adapter_id]))


def _unknown(adapter_id: str) -> NotFound:
    return NotFound(f"there is no adapter {adapter_id}", hint="`flywheel adapters list` shows them")


def _adapter(row: Row) -> Adapter:
    return Adapter(
        id=row["id"],
        base=row["base"],
        recipe=row["recipe"],
        dataset=row["dataset"],
        parent=row["parent"],
        created_at=moment(row["created_at"]),
        state=row["state"],
        metrics=unpack(row["metrics"]),
        files=unpack(row["files"]),
    )


# What champion and challenger answered, row by row, in the evaluation of a turn.

_OUTCOME = pyarrow.schema(
    {
        "sample": TEXT,
        "split": TEXT,
        "intent": TEXT,
        "champion_intent": TEXT,
        "challenger_intent": TEXT,
        "champion_correct": FLAG,
        "challenger_correct": FLAG,
        "champion_confidence": REAL,
        "challenger_confidence": REAL,
        "family": TEXT,
        "must_pass": FLAG,
        "bought": FLAG,
        "slices": TEXT,
    }
)

_ADD_OUTCOMES = """
    INSERT INTO outcomes BY NAME SELECT *, ? AS turn, ? AS revision FROM arriving ORDER BY position
"""

_OUTCOMES = """
    SELECT * EXCLUDE (turn, revision, position)
    FROM outcomes WHERE turn = ? AND revision = ? ORDER BY position
"""


def save_report(con: Connection, turn_id: str, report: Report) -> None:
    """Store the report of a turn; a report it already has stays, and no longer counts."""
    revision = last_revision(con, turn_id) + 1
    con.execute(
        "INSERT INTO reports VALUES (?, ?, ?, ?)",
        [turn_id, revision, report.champion, report.challenger],
    )
    cells = (
        (*(getattr(outcome, name) for name in _OUTCOME.names[:-1]), pack(outcome.slices))
        for outcome in report.outcomes
    )
    with arriving(con, table(_OUTCOME, cells)):
        con.execute(_ADD_OUTCOMES, [turn_id, revision])


def load_report(con: Connection, turn_id: str, revision: int | None = None) -> Report | None:
    """Return a report of a turn, by default the last; None without.

    The outcomes come in the order they were given.
    """
    revision = revision or last_revision(con, turn_id)
    header = records(
        con,
        "SELECT champion, challenger FROM reports WHERE turn = ? AND revision = ?",
        [turn_id, revision],
    )
    if not header:
        return None
    rows = records(con, _OUTCOMES, [turn_id, revision])
    outcomes = tuple(Outcome(**{**row, "slices": unpack(row["slices"])}) for row in rows)
    return Report(**header[0], outcomes=outcomes)


def last_revision(con: Connection, turn_id: str) -> int:
    """Return the number of the report that counts; 0 without one."""
    sql = "SELECT coalesce(max(revision), 0) FROM reports WHERE turn = ?"
    return int(scalar(con, sql, [turn_id]))
