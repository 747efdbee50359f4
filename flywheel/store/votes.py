"""What each rater said of each prediction: one row a pair, the latest by (ts, id)."""

from __future__ import annotations

from flywheel.store.columns import Connection, moment, records, unpack, unpack_or_none
from flywheel.store.health import LabelledText

_LATEST = """
    WITH latest AS (
        SELECT * FROM judged
        QUALIFY row_number() OVER (
            PARTITION BY prediction_id, rater ORDER BY feedback_ts DESC, feedback_id DESC
        ) = 1
    )
"""

_VOTES = f"""{_LATEST}
    SELECT prediction_id, text, rater, rater_kind, ts, slices,
        CASE WHEN verdict = 'correct' THEN predicted ELSE intent END AS truth,
        CASE WHEN verdict = 'correct' THEN predicted_arguments ELSE arguments END
            AS truth_arguments
    FROM latest WHERE truth IS NOT NULL
    ORDER BY ts, prediction_id, feedback_ts DESC, feedback_id DESC
"""  # noqa: S608  only names of this module

_COUNTS = f"""{_LATEST}
    SELECT truth_of(verdict, predicted, intent) AS truth, count(DISTINCT text) AS texts
    FROM latest GROUP BY ALL HAVING truth IS NOT NULL ORDER BY truth
"""  # noqa: S608  only names of this module


def counts(con: Connection) -> dict[str, int]:
    """Return how many different texts raters gave each intent."""
    return {row["truth"]: row["texts"] for row in records(con, _COUNTS)}


def votes(con: Connection) -> list[LabelledText]:
    """Return every text with an intent that a rater gave it, oldest first.

    Where raters disagree there are several rows of one prediction, the latest word first;
    `health.labelled_texts` has the latest word alone.
    """
    return [
        LabelledText(
            prediction_id=row["prediction_id"],
            text=row["text"],
            intent=row["truth"],
            arguments=unpack_or_none(row["truth_arguments"]),
            rater=row["rater"],
            rater_kind=row["rater_kind"],
            ts=moment(row["ts"]),
            slices=unpack(row["slices"]),
        )
        for row in records(con, _VOTES)
    ]
