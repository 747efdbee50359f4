"""Evaluated answers of adapters, and every round in which a server was asked for the same.

Nothing here holds a text; what was asked is named by sample, so that an erasure finds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow

from flywheel.records import EvaluatedAnswer, ServedAnswer
from flywheel.store.columns import (
    REAL,
    TEXT,
    Connection,
    Row,
    arriving,
    changed,
    first_row,
    moment,
    pack,
    records,
    scalar,
    stamp,
    table,
    unpack,
)

_KEPT_DIFFERENCES = 20  # of a round
_KEPT_CHECKS = 1000  # rounds; those of decisions are kept for ever

_ANSWER = pyarrow.schema(
    {"sample": TEXT, "intent": TEXT, "arguments": TEXT, "confidence": REAL, "margin": REAL},
)

_ADD_ANSWERS = """
    INSERT INTO evaluated_answers
    SELECT $adapter, sample, intent, arguments, confidence, margin FROM arriving AS a
    WHERE NOT EXISTS (
        SELECT 1 FROM evaluated_answers AS e WHERE e.adapter = $adapter AND e.sample = a.sample
    ) AND EXISTS (SELECT 1 FROM samples AS s WHERE s.id = a.sample)
    QUALIFY row_number() OVER (PARTITION BY sample ORDER BY position) = 1
    ORDER BY position
"""

_ANSWERS = """
    SELECT sample, intent, arguments, confidence, margin FROM evaluated_answers
    WHERE adapter = ? ORDER BY sample
"""

_ADD_CHECK = """
    INSERT INTO parity_checks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?::TIMESTAMP)
"""

_ADD_DIFFERENCE = """
    INSERT INTO parity_differences SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11
    WHERE EXISTS (SELECT 1 FROM samples WHERE id = $3)
"""

_LATEST = """
    SELECT * FROM parity_checks
    WHERE ($1 IS NULL OR adapter = $1) AND ($2 IS NULL OR decision = $2)
    ORDER BY number DESC LIMIT 1
"""

_DIFFERENCES = "SELECT * FROM parity_differences WHERE number = ? ORDER BY position"

_FORGET = (
    """
    DELETE FROM parity_differences WHERE number <= $1 - $2 AND number IN (
        SELECT number FROM parity_checks WHERE decision IS NULL
    )
    """,
    "DELETE FROM parity_checks WHERE number <= $1 - $2 AND decision IS NULL",
)


def add_evaluated(con: Connection, adapter: str, answers: Sequence[EvaluatedAnswer]) -> int:
    """Store what an adapter answered in evaluation; the first answer to a sample stays.

    Nothing is stored of a sample that was erased meanwhile.

    Returns:
        How many were new.
    """
    if not answers:
        return 0
    cells = (
        (one.sample, one.intent, pack(one.arguments), one.confidence, one.margin) for one in answers
    )
    with arriving(con, table(_ANSWER, cells)):
        return changed(con, _ADD_ANSWERS, {"adapter": adapter})


def evaluated(con: Connection, adapter: str) -> dict[str, EvaluatedAnswer]:
    """Return an adapter's evaluated answers by sample id."""
    return {
        row["sample"]: EvaluatedAnswer(
            sample=row["sample"],
            intent=row["intent"],
            arguments=unpack(row["arguments"]),
            confidence=row["confidence"],
            margin=row["margin"],
        )
        for row in records(con, _ANSWERS, [adapter])
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDifference:
    """One answer that differed."""

    sample: str
    what: str
    evaluated: EvaluatedAnswer
    served: ServedAnswer | None  # None: there was no answer


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityCheck:
    """One round of questions to a server."""

    adapter: str
    decision: str | None  # that waited for it; None: a check of what serves
    engine: str
    instance: str  # the server process that answered
    asked: int
    differing: int
    at: datetime
    refused: str = ""  # why the server could not load the adapter
    differences: tuple[StoredDifference, ...] = ()  # the first ones

    @property
    def passed(self) -> bool:
        """Whether something was asked, and nothing differed."""
        return self.asked > 0 and not self.differing and not self.refused


def add_check(con: Connection, check: ParityCheck) -> None:
    """Store a round; of rounds that belong to no decision the newest thousand are kept."""
    number = int(scalar(con, "SELECT coalesce(max(number), 0) + 1 FROM parity_checks"))
    cells: list[Any] = [check.adapter, check.decision, check.engine, check.instance, check.asked]
    cells += [check.differing, check.refused, stamp(check.at)]
    con.execute(_ADD_CHECK, [number, *cells])
    for position, one in enumerate(check.differences[:_KEPT_DIFFERENCES]):
        before, now = one.evaluated, one.served
        told: list[Any] = [number, position, one.sample, one.what]
        told += [before.intent, pack(before.arguments), before.confidence]
        answer = [now.adapter, now.intent, pack(now.arguments), now.confidence] if now else None
        told += answer or [None] * 4
        con.execute(_ADD_DIFFERENCE, told)
    for sql in _FORGET:
        con.execute(sql, [number, _KEPT_CHECKS])


def latest(
    con: Connection, *, adapter: str | None = None, decision: str | None = None
) -> ParityCheck | None:
    """Return the last round, of an adapter or of a decision where one is named; None without."""
    found = records(con, _LATEST, [adapter, decision])
    if not found:
        return None
    row = found[0]
    return ParityCheck(
        adapter=row["adapter"],
        decision=row["decision"],
        engine=row["engine"],
        instance=row["instance"],
        asked=row["asked"],
        differing=row["differing"],
        refused=row["refused"],
        at=moment(row["checked_at"]),
        differences=tuple(map(_difference, records(con, _DIFFERENCES, [row["number"]]))),
    )


def text_of(con: Connection, sample: str) -> str:
    """Return the text of a sample; "" where it was erased since."""
    found = first_row(con, "SELECT text FROM samples WHERE id = ? LIMIT 1", [sample])
    return str(found[0]) if found else ""


def _difference(row: Row) -> StoredDifference:
    served = None
    if row["served_intent"] is not None:
        served = ServedAnswer(
            adapter=row["served_adapter"],
            intent=row["served_intent"],
            arguments=unpack(row["served_arguments"]),
            confidence=row["served_confidence"],
        )
    return StoredDifference(
        sample=row["sample"],
        what=row["what"],
        evaluated=EvaluatedAnswer(
            sample=row["sample"],
            intent=row["evaluated_intent"],
            arguments=unpack(row["evaluated_arguments"]),
            confidence=row["evaluated_confidence"],
        ),
        served=served,
    )
