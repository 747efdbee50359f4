"""Feedback meets its prediction: written down once, and counted, in the transaction of both.

Whether the rater found other arguments right is decided here, by `content.same_arguments`, and
kept with the row as `arguments_wrong`; every statement reads it from there.
"""

from __future__ import annotations

import json

from flywheel.content import same_arguments
from flywheel.store.columns import Connection, changed, unpack

_FOUND = """
    CREATE TEMP TABLE judging AS
    SELECT f.id AS feedback_id, p.id AS prediction_id, p.ts, p.text, p.intent AS predicted,
        p.arguments AS predicted_arguments, p.confidence, p.adapter, p.slices,
        f.ts AS feedback_ts, f.verdict, f.intent, f.arguments, f.rater, f.rater_kind,
        NULL::BOOLEAN AS arguments_wrong
    FROM {predictions} AS p JOIN {feedback} AS f ON f.prediction_id = p.id
    WHERE NOT EXISTS (SELECT 1 FROM judged AS j WHERE j.feedback_id = f.id)
"""

# Feedback that waits has no prediction in the table, so the first one arriving now is its own.
_WAITING = _FOUND.format(predictions="arriving", feedback="feedback")

# Reads the stored feedback, not the arriving one: of two with one id only the first counts.
_ARRIVING = _FOUND.format(
    predictions="predictions",
    feedback="(SELECT * FROM feedback WHERE id IN (SELECT id FROM arriving))",
)

# Equal text is the same arguments. Of other text only what says the intent was right is looked at.
_WRITTEN_OTHERWISE = """
    UPDATE {table} SET arguments_wrong = coalesce(
        verdict <> 'correct' AND intent = predicted
        AND (verdict = 'incorrect' OR arguments <> predicted_arguments),
        false
    )
"""
_TO_COMPARE = """
    SELECT DISTINCT predicted_arguments, arguments FROM {table}
    WHERE arguments_wrong AND verdict = 'corrected'
"""
_SAME = """
    UPDATE {table} SET arguments_wrong = false
    WHERE verdict = 'corrected'
        AND [predicted_arguments, arguments] IN (SELECT unnest(from_json(?, '[["VARCHAR"]]')))
"""

_ADD_SUMS = """
    INSERT INTO daily_labels
    SELECT date_trunc('day', feedback_ts), predicted, truth_of(verdict, predicted, intent),
        answered_right(verdict, predicted, intent, arguments_wrong), adapter, slices, count(*)
    FROM {table} GROUP BY ALL
"""

_NOTE_REJUDGED = """
    INSERT INTO rejudged
    WITH touched AS (
        SELECT * FROM judged WHERE prediction_id IN (SELECT prediction_id FROM judging)
    )
    SELECT * FROM touched
    WHERE prediction_id IN (SELECT prediction_id FROM touched GROUP BY ALL HAVING count(*) > 1)
        AND feedback_id NOT IN (SELECT feedback_id FROM rejudged)
"""


def join_waiting(con: Connection) -> None:
    """Join the predictions in `arriving`, which are new, to the feedback that waits for them."""
    _judge(con, _WAITING)


def join_arriving(con: Connection) -> None:
    """Join the feedback in `arriving`, which is stored already, to its predictions."""
    _judge(con, _ARRIVING)


def compare_arguments_again(con: Connection) -> None:
    """Fill `arguments_wrong` of every row and count the labels anew; part of migration 11."""
    _judge_arguments(con, "judged")
    _judge_arguments(con, "rejudged")
    con.execute(_ADD_SUMS.format(table="judged"))


def _judge(con: Connection, found: str) -> None:
    if changed(con, found):
        _judge_arguments(con, "judging")
        con.execute("INSERT INTO judged SELECT * FROM judging")
        con.execute(_ADD_SUMS.format(table="judging"))
        con.execute(_NOTE_REJUDGED)
    con.execute("DROP TABLE judging")


def _judge_arguments(con: Connection, table: str) -> None:
    """Set `arguments_wrong`: the right intent, and its arguments incorrect or corrected."""
    con.execute(_WRITTEN_OTHERWISE.format(table=table))
    pairs = con.execute(_TO_COMPARE.format(table=table)).fetchall()
    same = [pair for pair in pairs if same_arguments(*map(unpack, pair))]
    if same:
        con.execute(_SAME.format(table=table), [json.dumps(same)])
