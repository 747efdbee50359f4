"""Scores of other tools: what was seen of each name, and counting them anew under another rule.

A score is stored as it was seen. Where its rule counts it, feedback with its id is stored beside
it. `score_rules` has the rule under which the scores of a name were counted last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from msgspec.json import decode

from flywheel.records import Call, Feedback, Score
from flywheel.store import events
from flywheel.store.columns import Connection, Row, changed, first_row, moment, records
from flywheel.store.join_feedback import withdraw

_LABELS = 20  # different ones that are listed
_SEEN = """
    SELECT source, name, arg_max(kind, ts) AS kind, count(*) AS count,
        count(*) FILTER (id IN (SELECT id FROM feedback WHERE score = source || ':' || name))
            AS counted,
        min(value) AS low, max(value) AS high,
        list_sort(list_distinct(list(label) FILTER (label <> '' AND kind = 'label')))[:{labels}]
            AS labels,
        max(ts) AS latest
    FROM scores GROUP BY source, name ORDER BY source, name
"""
_TOTALS = """
    SELECT count(*), count(*) FILTER (id IN (SELECT id FROM feedback WHERE score <> ''))
    FROM scores
"""
_OF_NAME = "SELECT * FROM scores WHERE source = ? AND name = ? ORDER BY ts, id"
_WITHDRAWN = """
    CREATE TEMP TABLE withdrawn AS
    SELECT DISTINCT feedback_id, prediction_id FROM judged
    WHERE feedback_id IN (SELECT id FROM feedback WHERE score = ?)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenScore:
    """What was seen of the scores of one name."""

    source: str  # the format they came in
    name: str
    kind: str  # of the latest
    count: int
    counted: int  # that are feedback
    low: float | None
    high: float | None
    labels: tuple[str, ...]
    latest: datetime


def seen(con: Connection) -> list[SeenScore]:
    """Return every name, with how many of its scores count."""
    return [
        SeenScore(
            **{
                **row,
                "labels": tuple(row["labels"] or ()),
                "latest": moment(row["latest"]),
            }
        )
        for row in records(con, _SEEN.format(labels=_LABELS))
    ]


def totals(con: Connection) -> tuple[int, int]:
    """Return how many scores are stored, and how many of them are feedback."""
    row = first_row(con, _TOTALS)
    assert row is not None
    return int(row[0]), int(row[1])


def rules_of_last_count(con: Connection) -> dict[tuple[str, str], str]:
    """Return the rule under which each (source, name) was counted last."""
    rows = con.execute("SELECT source, name, rule FROM score_rules").fetchall()
    return {(source, name): rule for source, name, rule in rows}


def recount(
    con: Connection,
    rules: Mapping[tuple[str, str], str],
    counted: Callable[[Score], Feedback | None],
) -> int:
    """Count the scores again whose rule is another one than at the last count.

    Args:
        con: a write transaction.
        rules: the rule of today by (source, name), for every name that is stored.
        counted: the feedback that a score is; None where it does not count.

    Returns:
        How many names were counted again.
    """
    before = rules_of_last_count(con)
    differing = [key for key, rule in rules.items() if before.get(key) != rule]
    for source, name in differing:
        con.execute("DELETE FROM score_rules WHERE source = ? AND name = ?", [source, name])
        con.execute("INSERT INTO score_rules VALUES (?, ?, ?)", [source, name, rules[source, name]])
        _count_again(con, source, name, counted)
    return len(differing)


def _count_again(
    con: Connection, source: str, name: str, counted: Callable[[Score], Feedback | None]
) -> None:
    key = f"{source}:{name}"
    con.execute(_WITHDRAWN, [key])
    withdraw(con)
    changed(con, "DELETE FROM feedback WHERE score = ?", [key])
    feedback = [counted(_score(row)) for row in records(con, _OF_NAME, [source, name])]
    events.add_feedback(con, [one for one in feedback if one is not None])


def _score(row: Row) -> Score:
    calls = decode(row["calls"], type=tuple[Call, ...])
    return Score(**{**row, "ts": moment(row["ts"]), "calls": calls})
