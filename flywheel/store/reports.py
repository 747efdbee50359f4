"""What champion and challenger answered, row by row, in the evaluation of a turn."""

from __future__ import annotations

import pyarrow

from flywheel.records import Outcome, Report
from flywheel.store.columns import (
    FLAG,
    REAL,
    TEXT,
    Connection,
    arriving,
    pack,
    records,
    scalar,
    table,
    unpack,
)

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


def save(con: Connection, turn_id: str, report: Report) -> None:
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


def load(con: Connection, turn_id: str, revision: int | None = None) -> Report | None:
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
