"""Which texts a person may be asked to label: by raters' votes, by audit, by doubt, by conflict.

A vote is what one rater says of one prediction: one row a pair, the latest by (ts, id).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from flywheel.store.columns import (
    Connection,
    Row,
    moment,
    moment_or_none,
    records,
    scalar,
    stamp,
)
from flywheel.store.health import LabelledText, labelled_text
from flywheel.store.labels import COUNTED_KIND

_LATEST = """
    WITH latest AS (
        SELECT * FROM judged WHERE part = 0  -- an answer with several calls labels no text
        QUALIFY row_number() OVER (
            PARTITION BY prediction_id, rater ORDER BY feedback_ts DESC, feedback_id DESC
        ) = 1
    )
"""

# What a rater says under the name of somebody whom the queue asked does not displace their answer.
_VOTES = f"""
    SELECT * EXCLUDE (asked) FROM (
        SELECT * REPLACE ({COUNTED_KIND} AS rater_kind), {COUNTED_KIND} = 'expert' AS asked FROM (
            SELECT prediction_id, text, rater, rater_kind, ts, slices, feedback_ts, feedback_id,
                CASE WHEN verdict = 'correct' THEN predicted ELSE intent END AS truth,
                CASE WHEN verdict = 'correct' THEN predicted_arguments ELSE arguments END
                    AS truth_arguments
            FROM judged WHERE part = 0  -- an answer with several calls labels no text
        )
    )
    QUALIFY row_number() OVER (
        PARTITION BY prediction_id, rater ORDER BY asked DESC, feedback_ts DESC, feedback_id DESC
    ) = 1
    ORDER BY ts, prediction_id, feedback_ts DESC, feedback_id DESC
"""  # noqa: S608  only names of this module

_COUNTS = f"""{_LATEST}
    SELECT truth_of(verdict, predicted, intent) AS truth, count(DISTINCT text) AS texts
    FROM latest GROUP BY ALL HAVING truth IS NOT NULL ORDER BY truth
"""  # noqa: S608  only names of this module


def vote_counts(con: Connection) -> dict[str, int]:
    """Return how many different texts raters gave each intent."""
    return {row["truth"]: row["texts"] for row in records(con, _COUNTS)}


def votes(con: Connection, experts: Sequence[str]) -> list[LabelledText]:
    """Return every text with an intent that a rater gave it, oldest first; `experts` as in
    `health.labelled_texts`.

    Where raters disagree there are several rows of one prediction, the latest word first;
    `health.labelled_texts` has the latest word alone.
    """
    rows = records(con, _VOTES, {"experts": list(experts)})
    return [labelled_text(row) for row in rows if row["truth"] is not None]


# Predictions that a person may be asked about, and texts on which raters differ.
#
# Samples are drawn by `md5('DRAW:' || id)`, as `labelling.lot` does: the same ones whoever asks.

_COLUMNS = "p.id, p.text, p.intent, p.confidence, p.ts"

_AUDITED = f"""
    SELECT {_COLUMNS}, md5('audit:' || p.id) AS lot, count(*) OVER () AS whole
    FROM standing_predictions() AS p
    WHERE p.ts >= $since AND md5('audit:' || p.id) < $bar
        AND NOT EXISTS (
            SELECT 1 FROM labels_standing AS l WHERE l.prediction = p.id AND l.kind = 'audit'
        )
    ORDER BY lot, p.id LIMIT $most
"""  # noqa: S608  columns by name

_NOBODY_LABELLED = """
        NOT EXISTS (SELECT 1 FROM judged AS j WHERE j.text = p.text)
        AND NOT EXISTS (SELECT 1 FROM samples AS s WHERE s.text = p.text)
        AND NOT EXISTS (SELECT 1 FROM labels_standing AS l WHERE l.text = p.text)
"""

# A text that is labelled in any way is not asked about again.
_UNKNOWN = f"md5('audit:' || p.id) >= $bar AND {_NOBODY_LABELLED}"

# Every second text, by its own hash: the others stay apart from training, to be asked about.
_UNLABELLED = f"""
    SELECT p.text FROM standing_predictions() AS p
    WHERE p.ts >= $since AND md5('learn:' || p.text) < '8' AND {_NOBODY_LABELLED}
    GROUP BY p.text ORDER BY max(p.ts) DESC, p.text LIMIT $most
"""  # noqa: S608

# The first of each intent by a heap: a window over all rows takes ten times as long.
_ANSWERED_AS = f"""
    SELECT unnest(first_ones, recursive := true) FROM (
        SELECT arg_min(
            {{
                'id': p.id, 'text': p.text, 'intent': p.intent, 'confidence': p.confidence,
                'ts': p.ts, 'lot': md5($draw || ':' || p.id)
            }},
            md5($draw || ':' || p.id), $most
        ) AS first_ones
        FROM standing_predictions() AS p
        WHERE p.ts >= $since AND list_contains($intents, p.intent)
            AND NOT list_contains($others, coalesce(p.adapter, '')) AND {_UNKNOWN}
        GROUP BY p.intent
    )
"""  # noqa: S608  columns and conditions by name

_OFFERED = f"""
    SELECT p.intent, count(DISTINCT p.text) AS texts FROM standing_predictions() AS p
    WHERE p.ts >= $since AND {_UNKNOWN} GROUP BY p.intent ORDER BY p.intent
"""  # noqa: S608  conditions by name

# Several rows a text at first: a few times as many as are wanted are looked at.
_UNCERTAIN = f"""
    SELECT * FROM (
        SELECT {_COLUMNS}, '' AS lot FROM standing_predictions() AS p
        WHERE p.ts >= $since AND p.confidence < $below AND {_UNKNOWN}
        ORDER BY p.confidence, p.id LIMIT $most * 20
    )
    QUALIFY row_number() OVER (PARTITION BY text ORDER BY confidence, id) = 1
    ORDER BY confidence, id LIMIT $most
"""  # noqa: S608

# Of one rater's words on one prediction the last counts: changing one's mind is no conflict. A
# voter counts once a text; one without a name once a prediction.
_CONFLICTS = f"""
    WITH last_words AS (
        SELECT text, CASE WHEN verdict = 'correct' THEN predicted ELSE intent END AS truth,
            prediction_id, rater, rater_kind
        FROM judged WHERE part = 0 AND (verdict = 'correct' OR intent IS NOT NULL)
        QUALIFY row_number() OVER (
            PARTITION BY prediction_id, rater ORDER BY feedback_ts DESC, feedback_id DESC
        ) = 1
    ),
    words AS (
        SELECT text, truth AS label, CASE rater WHEN '' THEN prediction_id ELSE rater END AS voter,
            {COUNTED_KIND} = 'expert' AS expert
        FROM last_words
    ),
    refused AS (
        SELECT text, intent AS label FROM refusals
        WHERE reason IN ('conflict', 'split', 'unvouched') AND origin = 'feedback'
            AND turn = (SELECT turn FROM refusals ORDER BY refused_at DESC LIMIT 1)
    ),
    told AS (
        SELECT text, label, count(DISTINCT voter) AS n, bool_or(expert) AS settled
        FROM words GROUP BY ALL
        UNION ALL
        SELECT text, label, 0 AS n, false AS settled FROM refused
        WHERE (text, label) NOT IN (SELECT (text, label) FROM words)
    )
    SELECT text, list(label ORDER BY n DESC, label) AS labels, sum(n)::BIGINT AS votes
    FROM told
    WHERE NOT EXISTS (SELECT 1 FROM labels_standing AS l WHERE l.text = told.text)
        AND NOT EXISTS (
            SELECT 1 FROM samples AS s
            WHERE s.text = told.text AND (s.split <> 'train' OR s.origin IN ('seed', 'person'))
        )
    GROUP BY text
    HAVING NOT bool_or(settled) AND (
        text IN (SELECT text FROM refused) OR (count(*) > 1 AND max(n) < $agreed * sum(n))
    )
    ORDER BY votes DESC, text
"""  # noqa: S608  a constant of ours

# The earliest prediction names the text, so that later traffic gives it no other name. Drawn from
# different texts: what is said most would be most of a draw from predictions.
_UNKNOWN_TEXTS = f"""
    SELECT p.text, arg_min(p.id, (p.ts, p.id)) AS id, arg_max(p.intent, (p.ts, p.id)) AS intent,
        sum(p.answers)::BIGINT AS answers
    FROM standing_predictions() AS p
    WHERE p.ts >= $since AND trim(p.text) <> '' AND {_UNKNOWN}
    GROUP BY p.text ORDER BY md5('first:' || p.text), p.text LIMIT $most
"""  # noqa: S608

_NAMED = f"""
    SELECT {_COLUMNS}, '' AS lot FROM standing_predictions() AS p WHERE list_contains($ids, p.id)
    ORDER BY p.id
"""  # noqa: S608

_RECENT = """
    SELECT p.text FROM standing_predictions() AS p WHERE p.ts >= $since
    GROUP BY p.text ORDER BY max(p.ts) DESC, p.text LIMIT $most
"""

_NEWEST = "SELECT max(ts) FROM predictions"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenPrediction:
    """A prediction, as far as it is needed to ask about it."""

    id: str
    text: str
    intent: str  # what production answered
    confidence: float | None
    ts: datetime
    lot: str  # its place in the draw


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenText:
    """A text of production that nobody labelled."""

    id: str  # of the earliest prediction
    text: str
    intent: str  # what production answered last
    answers: int  # how often it was asked


@dataclass(frozen=True, slots=True, kw_only=True)
class RaterConflict:
    """A text that raters label differently."""

    text: str
    labels: tuple[str, ...]  # most frequent first
    votes: int


def newest(con: Connection) -> datetime | None:
    """When the newest prediction was made; None before the first."""
    return moment_or_none(scalar(con, _NEWEST))


def audited(
    con: Connection, since: datetime, bar: str, most: int
) -> tuple[list[SeenPrediction], int]:
    """Return the predictions whose lot is below `bar` and that nobody was asked about, in order
    of their lots: a part of them is a uniform sample too. And how many there are in all.
    """
    rows = records(con, _AUDITED, {"since": stamp(since), "bar": bar, "most": most})
    whole = [row.pop("whole") for row in rows]
    return _seen(rows), whole[0] if whole else 0


def answered_as(
    con: Connection,
    intents: Collection[str],
    since: datetime,
    bar: str,
    most: int,
    *,
    draw: Literal["gate", "health"] = "gate",
    others: Sequence[str] = (),
) -> list[SeenPrediction]:
    """Return unlabelled predictions answered with these intents, in the order of their lots; a
    text may be among them more than once.

    Args:
        con: the database.
        intents: at least one row an intent where there is any.
        since: no older predictions.
        bar: of the audit sample, whose predictions are left to it.
        most: of one intent.
        draw: whose lots.
        others: adapters whose answers are left out.
    """
    asked = {
        "intents": sorted(intents),
        "since": stamp(since),
        "bar": bar,
        "most": most,
        "draw": draw,
        "others": list(others),
    }
    return sorted(_seen(records(con, _ANSWERED_AS, asked)), key=lambda one: (one.lot, one.id))


def offered(con: Connection, since: datetime, bar: str) -> dict[str, int]:
    """Return how many different texts nobody labelled, by the intent that production answered.

    The most that the queue could ask for the gates: some are near texts that are known already.
    Arguments as of `answered_as`.
    """
    rows = records(con, _OFFERED, {"since": stamp(since), "bar": bar})
    return {row["intent"]: row["texts"] for row in rows}


def unknown_texts(con: Connection, since: datetime, bar: str, most: int) -> list[SeenText]:
    """Return different texts that nobody labelled, in the order of their own lots.

    Predictions of the audit sample, whose lots are below `bar`, are left to it.
    """
    asked = {"since": stamp(since), "bar": bar, "most": most}
    return [SeenText(**row) for row in records(con, _UNKNOWN_TEXTS, asked)]


def unlabelled(con: Connection, since: datetime, most: int) -> list[str]:
    """Return texts that nobody has labelled, the newest first: a fixed half of all such texts, so
    that the other half can still judge."""
    return [row["text"] for row in records(con, _UNLABELLED, {"since": stamp(since), "most": most})]


def recent(con: Connection, since: datetime, most: int) -> list[str]:
    """Return different production texts, the newest first, labelled or not."""
    return [row["text"] for row in records(con, _RECENT, {"since": stamp(since), "most": most})]


def uncertain(
    con: Connection, below: float, since: datetime, bar: str, most: int
) -> list[SeenPrediction]:
    """Return unlabelled texts answered with a confidence under `below`, the least first."""
    asked = {"below": below, "since": stamp(since), "bar": bar, "most": most}
    return _seen(records(con, _UNCERTAIN, asked))


def conflicts(con: Connection, agreed: float, experts: Sequence[str]) -> list[RaterConflict]:
    """Return texts that raters label differently, or that the last turn refused: as conflicting,
    or since too few raters vouch for their new wording.

    Those that a person or an expert has labelled, or that judge models, are not among them; nor
    those whose label a share `agreed` of the voters gave. `experts` as in `health.labelled_texts`.
    """
    return [
        RaterConflict(text=row["text"], labels=tuple(row["labels"]), votes=row["votes"])
        for row in records(con, _CONFLICTS, {"agreed": agreed, "experts": list(experts)})
    ]


def named(con: Connection, ids: Sequence[str]) -> dict[str, SeenPrediction]:
    """Return predictions by id; an unknown one is missing."""
    return {one.id: one for one in _seen(records(con, _NAMED, {"ids": list(ids)}))} if ids else {}


def _seen(rows: Sequence[Row]) -> list[SeenPrediction]:
    return [SeenPrediction(**{**row, "ts": moment(row["ts"])}) for row in rows]
