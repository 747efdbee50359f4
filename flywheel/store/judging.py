"""Feedback meets its prediction: written down once, and counted, in the transaction of both."""

from __future__ import annotations

from flywheel.store.columns import Connection, changed

_FOUND = """
    CREATE TEMP TABLE judging AS
    SELECT f.id AS feedback_id, p.id AS prediction_id, p.ts, p.text, p.intent AS predicted,
        p.arguments AS predicted_arguments, p.confidence, p.adapter, p.slices,
        f.ts AS feedback_ts, f.verdict, f.intent, f.arguments, f.rater, f.rater_kind
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

_ADD_SUMS = """
    INSERT INTO daily_labels
    SELECT date_trunc('day', feedback_ts), predicted, truth_of(verdict, predicted, intent),
        answered_right(verdict, predicted, intent, predicted_arguments, arguments),
        adapter, slices, count(*)
    FROM judging GROUP BY ALL
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


def judge_waiting(con: Connection) -> None:
    """Join the predictions in `arriving`, which are new, to the feedback that waits for them."""
    _judge(con, _WAITING)


def judge_arriving(con: Connection) -> None:
    """Join the feedback in `arriving`, which is stored already, to its predictions."""
    _judge(con, _ARRIVING)


def _judge(con: Connection, found: str) -> None:
    if changed(con, found):
        con.execute("INSERT INTO judged SELECT * FROM judging")
        con.execute(_ADD_SUMS)
        con.execute(_NOTE_REJUDGED)
    con.execute("DROP TABLE judging")
