"""What today's champion answers to labelled texts, whoever answered them in production.

Corrections on answers that it would no longer give are history; a text that it learned says
nothing of it. Which texts it learned, and its answers to the others, are kept by prediction. Its
own answers in production stand as they were given.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow

from flywheel.metrics import IntentPair
from flywheel.records import Arguments
from flywheel.store.columns import (
    FLAG,
    TEXT,
    Connection,
    arriving,
    changed,
    pack,
    records,
    scalar,
    stamp,
    table,
    unpack,
)
from flywheel.store.health import FailedAnswer, failed_answer

DRAWN_BY_LOT = ("audit", "health")
"""Kinds of labels whose texts were drawn by lot: they are no volunteered feedback."""

_EVER = datetime(1, 1, 1, tzinfo=UTC)
_ANSWERS = pyarrow.schema(
    {"prediction_id": TEXT, "learned": FLAG, "intent": TEXT, "arguments": TEXT}
)
_ADD = """
    INSERT INTO champion_answers
    SELECT $adapter, prediction_id, learned, intent, arguments FROM arriving AS a
    WHERE NOT EXISTS (
        SELECT 1 FROM champion_answers AS c
        WHERE c.adapter = $adapter AND c.prediction_id = a.prediction_id
    ) AND (
        EXISTS (SELECT 1 FROM judged AS j WHERE j.prediction_id = a.prediction_id)
        OR EXISTS (SELECT 1 FROM labels AS l WHERE l.prediction = a.prediction_id)
    )
    ORDER BY position
"""

# The texts of the audit and of what was asked for health have a label before it is feedback.
_TO_ANSWER = """
    WITH labelled_texts AS (
        SELECT prediction_id, text, feedback_ts AS labelled_at, predicted, predicted_arguments,
            adapter, truth, false AS by_lot
        FROM labelled_since($since) WHERE part = 0
        UNION ALL
        SELECT l.prediction, l.text, l.said_at, p.intent, p.arguments, p.adapter, l.intent, true
        FROM labels_standing AS l JOIN predictions AS p ON p.id = l.prediction
        WHERE list_contains($kinds, l.kind) AND l.said_at >= $since
    )
    SELECT prediction_id, text, predicted, predicted_arguments, adapter = $adapter AS own, truth,
        bool_or(by_lot) OVER (PARTITION BY prediction_id) AS by_lot
    FROM labelled_texts AS t
    WHERE NOT EXISTS (
        SELECT 1 FROM champion_answers AS c
        WHERE c.adapter = $adapter AND c.prediction_id = t.prediction_id
    ) AND trim(text) <> ''
    QUALIFY row_number() OVER (PARTITION BY prediction_id ORDER BY labelled_at DESC) = 1
    ORDER BY max(labelled_at) OVER (PARTITION BY prediction_id) DESC, prediction_id LIMIT $most
"""

# What the turn refused that trained the adapter, for doubts about the label.
_REFUSED = """
    SELECT provenance, intent FROM refusals
    WHERE list_contains($reasons, reason) AND origin = 'feedback'
        AND turn IN (SELECT turn FROM decisions WHERE challenger = $adapter)
"""
_DOUBTS = ("conflict", "label_noise", "outvoted", "unvouched")

_ANSWERED_ANEW = """
    SELECT count(*) FROM champion_answers AS c JOIN predictions AS p ON p.id = c.prediction_id
    WHERE c.adapter = $adapter AND NOT c.learned AND p.adapter IS DISTINCT FROM c.adapter
"""

# Labelled texts that the champion was not asked, and that count for nothing until it was.
_WAITING = """
    WITH by_lot AS (
        SELECT l.prediction AS prediction_id, any_value(l.text) AS text, any_value(p.ts) AS ts,
            any_value(p.intent) AS predicted, arg_max(l.intent, l.said_at) AS truth,
            any_value(p.adapter) AS adapter
        FROM labels_standing AS l JOIN predictions AS p ON p.id = l.prediction
        WHERE list_contains($kinds, l.kind) AND l.said_at >= $since
        GROUP BY l.prediction
    ),
    labelled_texts AS (
        SELECT l.prediction_id, text, ts, predicted, truth, adapter
        FROM labelled_since($since) AS l
        ANTI JOIN by_lot AS b ON b.prediction_id = l.prediction_id WHERE part = 0
        UNION ALL
        SELECT prediction_id, text, ts, predicted, truth, adapter FROM by_lot
    )
    SELECT predicted, truth, CAST(count(*) AS BIGINT) AS count FROM labelled_texts AS t
    ANTI JOIN (SELECT prediction_id FROM champion_answers WHERE adapter = $adapter) AS c
        ON c.prediction_id = t.prediction_id
    WHERE adapter IS DISTINCT FROM $adapter
        AND (ts < $reign OR adapter IN (SELECT id FROM adapters)) AND trim(text) <> ''
    GROUP BY ALL ORDER BY predicted, truth NULLS FIRST
"""

# Volunteered labels, on the answers of today's champion; of all where no champion can be asked.
# Answers of another adapter count once the champion was asked the same; those since its reign of
# nobody that the registry knows count as given until then. Where the champion calls otherwise than
# production did, only a rater who named the right call says how that is; arguments that no rater
# named are not judged. `own`: production gave this answer, as far as it is known, by the champion.
_STANDING = """
    WITH by_lot AS (
        SELECT DISTINCT prediction FROM labels_standing
        WHERE list_contains($kinds, kind) AND prediction IS NOT NULL
    ),
    answered AS (
        SELECT l.*, c.intent AS anew, c.arguments AS anew_arguments,
            $adapter::VARCHAR IS NULL OR coalesce(l.adapter, '') = $adapter AS by_it,
            by_it OR (r.id IS NULL AND l.ts >= $reign) AS ours,
            by_it OR (ours AND c.prediction_id IS NULL) AS as_given
        FROM labelled_since($since) AS l
        ANTI JOIN by_lot AS b ON b.prediction = l.prediction_id
        LEFT JOIN champion_answers AS c
            ON c.adapter = $adapter AND c.prediction_id = l.prediction_id
        LEFT JOIN (SELECT DISTINCT id FROM adapters) AS r ON r.id = l.adapter
        WHERE NOT coalesce(c.learned, false)
    ),
    compared AS (
        SELECT *,
            as_given OR (anew = predicted AND anew_arguments = predicted_arguments) AS same
        FROM answered WHERE as_given OR (part = 0 AND anew IS NOT NULL)
    ),
    standing AS (
        SELECT prediction_id, text, ts, slices, truth, truth_arguments, ours AND same AS own,
            CASE WHEN same THEN predicted ELSE anew END AS predicted,
            CASE WHEN same THEN predicted_arguments ELSE anew_arguments END AS predicted_arguments,
            CASE WHEN same THEN correct
            WHEN truth IS NULL THEN NULL
            ELSE anew = truth AND (
                coalesce(truth_arguments, '{}') = '{}' OR anew_arguments = truth_arguments
            ) END AS correct
        FROM compared
    )
"""

_PAIRS = f"""{_STANDING}
    SELECT predicted, truth, correct, own, CAST(count(*) AS BIGINT) AS count FROM standing
    WHERE correct IS NOT NULL
    GROUP BY ALL ORDER BY predicted, truth NULLS FIRST, correct, own
"""  # noqa: S608  names of this module

_FAILURES = f"""{_STANDING}
    SELECT text, predicted, truth, predicted_arguments, truth_arguments, slices FROM standing
    WHERE NOT correct AND (predicted = $intent OR truth = $intent)
    QUALIFY row_number() OVER (PARTITION BY text ORDER BY ts DESC, prediction_id) = 1
    ORDER BY ts DESC, text LIMIT $most
"""  # noqa: S608  names of this module

_VERDICTS = """
    SELECT count(*) FILTER (correct) AS rights, count(*) FILTER (NOT correct) AS wrongs
    FROM labelled_since($since) AS l
    ANTI JOIN (
        SELECT DISTINCT prediction FROM labels_standing
        WHERE list_contains($kinds, kind) AND prediction IS NOT NULL
    ) AS b ON b.prediction = l.prediction_id
"""

_OF_PREDICTIONS = """
    SELECT p.id AS prediction_id, p.adapter, coalesce(c.learned, false) AS learned,
        c.intent AS anew
    FROM predictions AS p
    LEFT JOIN champion_answers AS c ON c.adapter = $adapter AND c.prediction_id = p.id
    WHERE p.ts >= $since AND list_contains($ids, p.id)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledAnswer:
    """A labelled prediction of which it is not known yet what the champion answers."""

    prediction_id: str
    text: str
    intent: str  # as recorded
    arguments: Arguments
    own: bool  # the champion gave this answer in production
    truth: str | None  # by the latest label
    by_lot: bool  # one of its labels was drawn by lot


@dataclass(frozen=True, slots=True, kw_only=True)
class ChampionAnswer:
    """What is kept of one labelled text."""

    prediction_id: str
    learned: bool  # or its label was refused when it might have been: its answer says nothing
    intent: str | None = None  # None: it was learned
    arguments: Arguments | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingPair:
    """Volunteered labels with one answer of today's champion and one true intent."""

    pair: IntentPair
    own: bool  # given in production, as far as is known by the champion


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingTexts:
    """Labelled texts that wait for the champion's answer, as production answered them."""

    predicted: str
    truth: str | None
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenAnswer:
    """Who gave an answer, and what today's champion says to its text."""

    adapter: str  # "": not said
    learned: bool
    anew: str | None  # None: it was not asked


def answered_anew(con: Connection, adapter: str) -> int:
    """Return how many labelled texts it was asked that production did not ask it."""
    ((count,),) = con.execute(_ANSWERED_ANEW, {"adapter": adapter}).fetchall()
    return int(count)


def compared(con: Connection, adapter: str) -> int:
    """Return how many labelled texts were compared with it, learned ones among them."""
    return int(scalar(con, "SELECT count(*) FROM champion_answers WHERE adapter = ?", [adapter]))


def to_answer(con: Connection, adapter: str, since: datetime, most: int) -> list[LabelledAnswer]:
    """Return labelled texts that the champion was not compared with yet, the newest label first."""
    asked = {
        "adapter": adapter,
        "since": stamp(since),
        "most": most,
        "kinds": list(DRAWN_BY_LOT),
    }
    return [
        LabelledAnswer(
            prediction_id=row["prediction_id"],
            text=row["text"],
            intent=row["predicted"],
            arguments=unpack(row["predicted_arguments"]),
            own=row["own"],
            truth=row["truth"],
            by_lot=row["by_lot"],
        )
        for row in records(con, _TO_ANSWER, asked)
    ]


def refused_labels(con: Connection, adapter: str) -> frozenset[tuple[str, str]]:
    """Return (prediction, intent) of the labels that curation doubted when the adapter was trained.

    What is left unlearned of its time is mostly these: it was trained against them.
    """
    rows = records(con, _REFUSED, {"adapter": adapter, "reasons": list(_DOUBTS)})
    named = ((unpack(row["provenance"]).get("prediction"), row["intent"]) for row in rows)
    return frozenset((str(name), intent) for name, intent in named if name)


def waiting(con: Connection, adapter: str, reign: datetime, since: datetime) -> list[WaitingTexts]:
    """Count the labelled texts that say nothing of the champion until it was asked them.

    Args:
        con: a connection.
        adapter: the champion.
        reign: since when it is that.
        since: when the labels were given.
    """
    asked = {
        "adapter": adapter,
        "reign": stamp(reign),
        "since": stamp(since),
        "kinds": list(DRAWN_BY_LOT),
    }
    return [WaitingTexts(**row) for row in records(con, _WAITING, asked)]


def add(con: Connection, adapter: str, answers: Sequence[ChampionAnswer]) -> int:
    """Store what the champion answers, and forget the answers of champions before it.

    Nothing is stored of a prediction that was erased meanwhile.

    Returns:
        How many were new.
    """
    con.execute("DELETE FROM champion_answers WHERE adapter <> ?", [adapter])
    cells = (
        (one.prediction_id, one.learned, one.intent, pack(one.arguments or {})) for one in answers
    )
    with arriving(con, table(_ANSWERS, cells)):
        return changed(con, _ADD, {"adapter": adapter})


def standing_pairs(
    con: Connection, adapter: str | None, since: datetime, reign: datetime | None = None
) -> list[StandingPair]:
    """Count volunteered labels since `since` on what today's champion answers.

    Args:
        con: a connection.
        adapter: the champion; None: none can be asked, and all that production answered counts.
        since: when the labels were given.
        reign: since when it is the champion; None: for ever.
    """
    asked = {
        "adapter": adapter,
        "since": stamp(since),
        "kinds": list(DRAWN_BY_LOT),
        "reign": stamp(reign or _EVER),
    }
    return [
        StandingPair(own=row.pop("own"), pair=IntentPair(**row))
        for row in records(con, _PAIRS, asked)
    ]


def failures(
    con: Connection,
    adapter: str | None,
    intent: str,
    since: datetime,
    limit: int,
    reign: datetime | None = None,
) -> list[FailedAnswer]:
    """Return wrong answers of today's champion to different texts, newest first, that concern
    `intent`; further arguments as of `standing_pairs`.

    An answer concerns an intent when the intent was predicted or was right.
    """
    asked: dict[str, Any] = {
        "adapter": adapter,
        "since": stamp(since),
        "kinds": [],  # a label drawn by lot shows a failure as any other
        "intent": intent,
        "most": limit,
        "reign": stamp(reign or _EVER),
    }
    return [failed_answer(row) for row in records(con, _FAILURES, asked)]


def verdicts(con: Connection, since: datetime) -> tuple[int, int]:
    """Return how many volunteered labels said that production's answer was right, and wrong."""
    (row,) = records(con, _VERDICTS, {"since": stamp(since), "kinds": list(DRAWN_BY_LOT)})
    return row["rights"], row["wrongs"]


def seen_answers(
    con: Connection, adapter: str | None, ids: Collection[str], since: datetime
) -> dict[str, SeenAnswer]:
    """Return what is known of predictions since `since`, by id; archived ones are missing."""
    if not ids:
        return {}
    asked = {"adapter": adapter, "ids": sorted(ids), "since": stamp(since)}
    rows = records(con, _OF_PREDICTIONS, asked)
    return {
        row["prediction_id"]: SeenAnswer(
            adapter=row["adapter"], learned=row["learned"], anew=row["anew"]
        )
        for row in rows
    }
