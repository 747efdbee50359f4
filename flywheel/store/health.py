"""What production says about the intents: counts, failed texts and labels for training.

Everything reads `labelled`: one row per prediction that has feedback, the latest by (ts, id).
A prediction falls in the period in which that feedback was given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from flywheel.metrics import IntentPair, Tallies
from flywheel.records import Arguments, RaterKind
from flywheel.store.columns import (
    Connection,
    moment,
    records,
    scalar,
    stamp,
    unpack,
    unpack_or_none,
)

_VOLUME = """
    SELECT intent, count(*) FROM predictions
    WHERE ts >= ? AND ts < ? GROUP BY intent ORDER BY intent
"""

_PAIRS = """
    SELECT predicted, truth, correct, count(*) AS count
    FROM labelled_since(?) WHERE feedback_ts < ?
    GROUP BY ALL ORDER BY predicted, truth NULLS FIRST, correct
"""

_FAILURES = """
    SELECT text, predicted, truth, predicted_arguments, truth_arguments, slices
    FROM labelled_since(?)
    WHERE NOT correct AND (predicted = ? OR truth = ?)
    QUALIFY row_number() OVER (PARTITION BY text ORDER BY ts DESC, prediction_id) = 1
    ORDER BY ts DESC, text LIMIT ?
"""

_LABELLED_TEXTS = """
    SELECT prediction_id, text, truth, truth_arguments, rater, rater_kind, ts, slices
    FROM labelled WHERE truth IS NOT NULL ORDER BY ts, prediction_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledText:
    """A production text whose right intent a rater named."""

    prediction_id: str
    text: str
    intent: str  # the right one
    arguments: Arguments | None  # None: the rater did not say
    rater: str
    rater_kind: RaterKind
    ts: datetime  # of the prediction
    slices: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedAnswer:
    """A production text that was answered wrongly, as far as a rater said."""

    text: str
    predicted: str
    truth: str | None
    predicted_arguments: Arguments
    truth_arguments: Arguments | None
    slices: Mapping[str, str]


def newest_label(con: Connection) -> datetime | None:
    """When the latest feedback on a known prediction was given; None before the first."""
    newest = scalar(con, "SELECT max(feedback_ts) FROM judged")
    return None if newest is None else moment(newest)


def feedback_since(con: Connection, since: datetime) -> int:
    """Return how many labels on known predictions were given after `since`."""
    return int(scalar(con, "SELECT count(*) FROM judged WHERE feedback_ts > ?", [stamp(since)]))


def tallies(con: Connection, since: datetime, until: datetime) -> Tallies:
    """Count predictions made, and labels given, from `since` up to but not at `until`."""
    period = [stamp(since), stamp(until)]
    volume = dict(con.execute(_VOLUME, period).fetchall())
    pairs = tuple(IntentPair(**row) for row in records(con, _PAIRS, period))
    return Tallies(volume=volume, pairs=pairs)


def failures(con: Connection, intent: str, since: datetime, limit: int) -> list[FailedAnswer]:
    """Return wrong answers to different texts, newest first, that concern `intent`.

    An answer concerns an intent when the intent was predicted or was right.
    """
    rows = records(con, _FAILURES, [stamp(since), intent, intent, limit])
    return [
        FailedAnswer(
            text=row["text"],
            predicted=row["predicted"],
            truth=row["truth"],
            predicted_arguments=unpack(row["predicted_arguments"]),
            truth_arguments=unpack_or_none(row["truth_arguments"]),
            slices=unpack(row["slices"]),
        )
        for row in rows
    ]


def labelled_texts(con: Connection) -> list[LabelledText]:
    """Return every text whose right intent is known from feedback, oldest first."""
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
        for row in records(con, _LABELLED_TEXTS)
    ]
