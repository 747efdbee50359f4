"""What production says about the intents: counts, failed texts and labels for training.

Everything reads `labelled`: one row per prediction that has feedback, the latest by (ts, id).
A prediction falls in the period in which that feedback was given.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from flywheel.metrics import IntentPair, Tallies
from flywheel.records import Arguments, RaterKind
from flywheel.store.archive import archived
from flywheel.store.columns import (
    Connection,
    Row,
    moment,
    records,
    scalar,
    stamp,
    unpack,
    unpack_or_none,
)
from flywheel.store.labels import COUNTED_KIND

_DAY, _TICK = timedelta(days=1), timedelta(microseconds=1)

# Whole days from the sums, the days that the period cuts from the predictions themselves.
_VOLUME = """
    SELECT intent, CAST(sum(n) AS BIGINT) FROM (
        SELECT intent, adapter, slices, predictions AS n FROM daily
        WHERE day >= $first AND day < $last
        UNION ALL
        SELECT unnest(intents_of(intent, calls)) AS intent, adapter, slices, answers AS n
        FROM standing_predictions() WHERE ts >= $since AND ts < least($first, $until)
        UNION ALL
        SELECT unnest(intents_of(intent, calls)) AS intent, adapter, slices, answers AS n
        FROM standing_predictions() WHERE ts >= greatest($last, $first) AND ts < $until
    )
    WHERE ($adapter IS NULL OR adapter = $adapter)
        AND ($slices IS NULL OR list_contains($slices, slices))
        AND NOT list_contains($others, coalesce(adapter, ''))
    GROUP BY intent ORDER BY intent
"""

# As the volume; and what the sums count too often is taken off: of the labels of one prediction
# only the latest counts, by (feedback_ts, feedback_id), within the period.
_LABEL = """
    predicted, truth_of(verdict, predicted, intent) AS truth,
    answered_right(verdict, predicted, intent, arguments_wrong) AS correct,
    adapter, slices, feedback_ts >= $middle AS recent
"""
_PAIRS = f"""
    WITH counted AS (
        SELECT predicted, truth, correct, adapter, slices, day >= $middle AS recent, labels AS n
        FROM daily_labels WHERE day >= $first AND day < $last AND day IS DISTINCT FROM $cut::TIMESTAMP
        UNION ALL
        SELECT {_LABEL}, 1 FROM judged WHERE feedback_ts >= $since AND feedback_ts < least($first, $until)
        UNION ALL
        SELECT {_LABEL}, 1 FROM judged WHERE feedback_ts >= $cut AND feedback_ts < $cut::TIMESTAMP + INTERVAL 1 DAY
        UNION ALL
        SELECT {_LABEL}, 1 FROM judged WHERE feedback_ts >= greatest($last, $first) AND feedback_ts < $until
        UNION ALL
        SELECT {_LABEL}, -1 FROM rejudged WHERE feedback_ts >= $since AND feedback_ts < $until
        UNION ALL
        SELECT {_LABEL}, 1 FROM (
            SELECT * FROM rejudged WHERE feedback_ts >= $since
            QUALIFY rank() OVER (
                PARTITION BY prediction_id ORDER BY feedback_ts DESC, feedback_id DESC
            ) = 1
        ) WHERE feedback_ts < $until
    )
    SELECT predicted, truth, correct, recent, CAST(sum(n) AS BIGINT) AS count
    FROM counted
    WHERE ($adapter IS NULL OR adapter = $adapter)
        AND ($slices IS NULL OR list_contains($slices, slices))
    GROUP BY ALL HAVING sum(n) <> 0 ORDER BY predicted, truth NULLS FIRST, correct, recent
"""  # noqa: E501, S608

_LABELLED_TEXTS = f"""
    SELECT prediction_id, text, truth, truth_arguments, rater, {COUNTED_KIND} AS rater_kind, ts,
        slices
    FROM labelled_since('0001-01-01'::TIMESTAMP) WHERE truth IS NOT NULL AND part = 0
    ORDER BY ts, prediction_id
"""  # noqa: S608  a constant of ours


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledText:
    """A production text whose right intent a rater named."""

    prediction_id: str
    text: str
    intent: str  # the right one
    arguments: Arguments | None  # None: the rater did not say
    rater: str
    rater_kind: RaterKind  # that it counts as: `labels.COUNTED_KIND`
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
    return int(
        scalar(
            con, "SELECT count(*) FROM judged WHERE feedback_ts > ? AND part < 2", [stamp(since)]
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthScope:
    """Which predictions are counted; all by default."""

    adapter: str | None = None
    slices: Mapping[str, str] = field(default_factory=dict)  # that a prediction must have


EVERYTHING = HealthScope()


def halves(
    con: Connection,
    since: datetime,
    middle: datetime,
    until: datetime,
    scope: HealthScope = EVERYTHING,
) -> tuple[Tallies, Tallies, Tallies]:
    """Count a whole period, and apart the labels before and from `middle` on.

    Returns:
        Whole, with the predictions made; earlier and recent, with labels only.
    """
    volume = predictions(con, since, until, scope)
    whole = {**_period(since, until), "adapter": scope.adapter, "slices": _cells(con, scope)}
    between = stamp(middle)
    day, first, last = _midnight(between), whole["first"], whole["last"]
    cut = day if day != between and first <= day < last else None
    found = records(con, _PAIRS, {**whole, "middle": between, "cut": cut})
    pairs = [(row.pop("recent"), IntentPair(**row)) for row in found]
    return (
        Tallies(volume=volume, pairs=_summed(pair for _, pair in pairs)),
        Tallies(pairs=tuple(pair for recent, pair in pairs if not recent)),
        Tallies(pairs=tuple(pair for recent, pair in pairs if recent)),
    )


def predictions(
    con: Connection,
    since: datetime,
    until: datetime,
    scope: HealthScope = EVERYTHING,
    others: Collection[str] = (),
) -> dict[str, int]:
    """Return the predictions of each intent in a period, without those of the adapters `others`."""
    asked = {"adapter": scope.adapter, "slices": _cells(con, scope), "others": list(others)}
    period = {**_period(since, until), **asked}
    return dict(con.execute(_VOLUME, _full_days(con, period)).fetchall())


def _period(since: datetime, until: datetime) -> dict[str, Any]:
    """A period, and the first and the last midnight in it."""
    begin, end = stamp(since), stamp(until)
    first, last = _midnight(begin + _DAY - _TICK), _midnight(end)
    return {"since": begin, "until": end, "first": first, "last": last}


def _full_days(con: Connection, period: dict[str, Any]) -> dict[str, Any]:
    """The same period; a day that it cuts counts whole where only its sums are left."""
    before = archived(con).before
    gone = stamp(before) if before else period["since"]
    begin, end = period["since"], period["until"]
    begin = _midnight(begin) if begin < gone else begin
    end = _midnight(end + _DAY - _TICK) if end < gone else end
    first = begin if begin < gone else period["first"]
    last = end if end < gone else period["last"]
    return {**period, "since": begin, "until": end, "first": first, "last": last}


def _summed(pairs: Iterable[IntentPair]) -> tuple[IntentPair, ...]:
    """The same pairs, each once."""
    counts: dict[tuple[str, str | None, bool], int] = {}
    for pair in pairs:
        key = (pair.predicted, pair.truth, pair.correct)
        counts[key] = counts.get(key, 0) + pair.count
    return tuple(
        IntentPair(predicted=predicted, truth=truth, correct=correct, count=count)
        for (predicted, truth, correct), count in counts.items()
    )


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def failed_answer(row: Row) -> FailedAnswer:
    """A row of a wrong answer as a record."""
    return FailedAnswer(
        text=row["text"],
        predicted=row["predicted"],
        truth=row["truth"],
        predicted_arguments=unpack(row["predicted_arguments"]),
        truth_arguments=unpack_or_none(row["truth_arguments"]),
        slices=unpack(row["slices"]),
    )


def labelled_texts(con: Connection, experts: Sequence[str]) -> list[LabelledText]:
    """Return every text whose right intent is known from feedback, oldest first.

    Args:
        con: a connection.
        experts: raters whom the configuration names; no event makes one.
    """
    rows = records(con, _LABELLED_TEXTS, {"experts": list(experts)})
    return [labelled_text(row) for row in rows]


def labelled_text(row: Row) -> LabelledText:
    """A row of the macro `labelled_since` as a record."""
    return LabelledText(
        prediction_id=row["prediction_id"],
        text=row["text"],
        intent=row["truth"],
        arguments=unpack_or_none(row["truth_arguments"]),
        rater=row["rater"],
        rater_kind=row["rater_kind"],
        ts=moment(row["ts"]),
        slices=unpack(row["slices"]),
    )


def _cells(con: Connection, scope: HealthScope) -> list[str] | None:
    """The stored slices that have what the scope asks for; None: all."""
    if not scope.slices:
        return None
    rows = con.execute("SELECT DISTINCT slices FROM daily").fetchall()
    wanted = scope.slices.items()
    return [text for (text,) in rows if wanted <= unpack(text).items()]
