"""Promotions that are watched, and what production's answers say of their two arms.

A correction is feedback of a person by which an answer was wrong. What was labelled because it was
asked about is none: what is asked may depend on the answer. Of that, the audit sample alone was
drawn by a lot that knows no arm. Of a key's wrong answers the one that was judged first counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from flywheel.store.columns import (
    Connection,
    Row,
    changed,
    moment,
    moment_or_none,
    records,
    stamp,
)

Outcome = Literal["harm", "no_harm", "unproven", "kept", "replaced"]

_BEGIN = """
    INSERT INTO watches
    SELECT coalesce(max(number), 0) + 1, ?, ?, ?, ?, ?, ?::TIMESTAMP, NULL, NULL, NULL, NULL
    FROM watches
"""
_LATEST = "SELECT * FROM watches ORDER BY number DESC LIMIT 1"

_ANSWERED = """
    WITH answered AS (
        SELECT id, intent, arm, answers,
            coalesce(nullif(rater, ''), nullif(session, ''), id) AS key,
            row_number() OVER (
                PARTITION BY coalesce(nullif(rater, ''), nullif(session, ''), id) ORDER BY ts, id
            ) AS nth
        FROM standing_predictions()
        WHERE ts >= $since AND adapter = CASE arm
            WHEN 'champion' THEN $champion WHEN 'earlier' THEN $earlier END
    )
"""
_COUNTS = f"""
    {_ANSWERED}
    SELECT arm, count(*) AS answers, count(DISTINCT key) AS keys FROM answered GROUP BY arm
"""  # noqa: S608  a constant of ours
_WRONG = f"""
    {_ANSWERED},
    judgements AS (
        SELECT j.*, l.kind AS asked FROM judged AS j LEFT JOIN (
            SELECT DISTINCT prediction, person, kind FROM labels_standing
        ) AS l ON l.prediction = j.prediction_id AND l.person = j.rater
        WHERE NOT answered_right(j.verdict, j.predicted, j.intent, j.arguments_wrong)
            AND j.rater_kind IN ('user', 'expert')
    )
    SELECT a.arm, a.key, a.nth::BIGINT AS nth
    FROM judgements AS j JOIN answered AS a ON a.id = j.prediction_id
    WHERE j.asked IS NOT DISTINCT FROM $asked
    QUALIFY row_number() OVER (
        PARTITION BY a.key ORDER BY j.feedback_ts, j.feedback_id, j.part
    ) = 1
    ORDER BY j.feedback_ts, j.feedback_id
"""  # noqa: S608
_BY_INTENT = """
    WITH wrong AS (
        SELECT DISTINCT prediction_id FROM judged
        WHERE feedback_ts >= $since AND rater_kind IN ('user', 'expert')
            AND NOT answered_right(verdict, predicted, intent, arguments_wrong)
            AND NOT EXISTS (
                SELECT 1 FROM labels_standing AS l
                WHERE l.prediction = prediction_id AND l.person = rater
            )
    )
    SELECT intent, count(*) AS answers, count(w.prediction_id) AS corrected,
        count(DISTINCT CASE WHEN w.prediction_id IS NOT NULL
            THEN coalesce(nullif(rater, ''), nullif(session, ''), id) END) AS keys
    FROM standing_predictions() AS p LEFT JOIN wrong AS w ON w.prediction_id = p.id
    WHERE ts >= $since GROUP BY intent ORDER BY intent
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredWatch:
    """One promotion that is or was watched."""

    number: int
    decision: str  # that made the new champion
    champion: str
    earlier: str
    share: float  # of keys that the new champion answers
    salt: str
    began_at: datetime
    proposal: str | None  # the rollback that was proposed to a person
    ended_at: datetime | None
    outcome: Outcome | None  # None: it is watched
    because: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmVolume:
    """What one arm answered."""

    arm: str
    answers: int
    keys: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongKey:
    """The first answer of a key that was judged as wrong."""

    arm: str
    key: str
    nth: int  # among the key's answers since the watch began


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectedIntent:
    """How often the answers of one intent are corrected."""

    intent: str
    answers: int
    corrected: int
    keys: int  # under which they were


def begin(
    con: Connection,
    *,
    decision: str,
    champion: str,
    earlier: str,
    share: float,
    salt: str,
    at: datetime,
) -> None:
    """Record that a promotion is watched from now on; the one before must have ended."""
    con.execute(_BEGIN, [decision, champion, earlier, share, salt, stamp(at)])


def latest(con: Connection) -> StoredWatch | None:
    """Return the latest watch, ended or not; None before the first."""
    found = records(con, _LATEST)
    return _watch(found[0]) if found else None


def current(con: Connection) -> StoredWatch | None:
    """Return the watch that has not ended; None without one."""
    found = latest(con)
    return found if found and found.outcome is None else None


def propose(con: Connection, number: int, decision_id: str) -> None:
    """Note which rollback was proposed to a person."""
    changed(con, "UPDATE watches SET proposal = ? WHERE number = ?", [decision_id, number])


def end(con: Connection, number: int, outcome: Outcome, because: str, at: datetime) -> None:
    """End a watch that has not ended."""
    sql = """
        UPDATE watches SET outcome = ?, because = ?, ended_at = ?::TIMESTAMP
        WHERE number = ? AND outcome IS NULL
    """
    changed(con, sql, [outcome, because, stamp(at), number])


def volumes(con: Connection, watch: StoredWatch) -> list[ArmVolume]:
    """Return what each arm answered since the watch began; an arm without answers is left out."""
    return [ArmVolume(**row) for row in records(con, _COUNTS, _asked(watch))]


def corrected(con: Connection, watch: StoredWatch) -> list[WrongKey]:
    """Return the keys under which people corrected an answer, in the order they did."""
    return [WrongKey(**row) for row in records(con, _WRONG, {**_asked(watch), "asked": None})]


def audited(con: Connection, watch: StoredWatch) -> list[WrongKey]:
    """Return the keys of which an answer was drawn by lot, and labelled as wrong."""
    return [WrongKey(**row) for row in records(con, _WRONG, {**_asked(watch), "asked": "audit"})]


def by_intent(con: Connection, since: datetime) -> list[CorrectedIntent]:
    """Return, by the intent that was answered, how often people corrected it since then."""
    return [CorrectedIntent(**row) for row in records(con, _BY_INTENT, {"since": stamp(since)})]


def _asked(watch: StoredWatch) -> dict[str, object]:
    return {
        "since": stamp(watch.began_at),
        "champion": watch.champion,
        "earlier": watch.earlier,
    }


def _watch(row: Row) -> StoredWatch:
    return StoredWatch(
        **{
            **row,
            "began_at": moment(row["began_at"]),
            "ended_at": moment_or_none(row["ended_at"]),
        }
    )
