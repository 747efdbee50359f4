"""Golden rows that retired: they judge no more, in no generation, and are learned from then on.

Each is recorded once, with the rule that took it and the training sample that was made of it. The
row stays in its generation, so that what it answered before can still be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

import msgspec
import pyarrow

from flywheel.content import sample_id
from flywheel.records import Sample
from flywheel.store import samples
from flywheel.store.columns import TEXT, Connection, arriving, records, scalar, stamp, table

RetiredBy = Literal["share", "near", "judged", "bought", "worn"]
"""share: given to training when it was imported; near: it is near a row that was retired before;
judged: it has answered enough queries; bought: the label has judged what it was asked for; worn: a
newer generation judges."""

RULES: tuple[RetiredBy, ...] = get_args(RetiredBy)

_ROW = pyarrow.schema({"sample": TEXT, "learned_as": TEXT, "rule": TEXT})

_ADD = """
    INSERT INTO retired_rows
    SELECT $generation, sample, learned_as, rule, $turn, $at::TIMESTAMP FROM arriving AS a
    WHERE NOT EXISTS (SELECT 1 FROM retired_rows AS r WHERE r.sample = a.sample)
    ORDER BY position
"""

_LISTED = """
    SELECT s.*, r.generation, r.rule FROM retired_rows AS r JOIN samples AS s ON s.id = r.sample
    ORDER BY s.id
"""

_COUNTS = "SELECT rule, count(*) FROM retired_rows WHERE generation = ? GROUP BY rule"

# A query of the ledger was answered by the rows of its turn's last report.
_ANSWERED = """
    SELECT o.sample, count(DISTINCT o.turn) FROM outcomes AS o
    SEMI JOIN golden_queries AS q ON q.turn = o.turn AND q.generation = $generation
    WHERE o.split = 'golden'
    GROUP BY o.sample
"""

_OLDER = """
    SELECT s.*, g.generation FROM golden_rows AS g JOIN samples AS s ON s.id = g.sample
    WHERE g.generation < (SELECT max(number) FROM generations)
        AND NOT EXISTS (SELECT 1 FROM retired_rows AS r WHERE r.sample = g.sample)
    QUALIFY row_number() OVER (PARTITION BY g.sample ORDER BY g.generation DESC) = 1
    ORDER BY s.id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetiredRow:
    """A golden sample that retired."""

    sample: Sample
    generation: int  # that it left
    rule: RetiredBy


def add(
    con: Connection,
    rows: Sequence[tuple[Sample, RetiredBy]],
    *,
    generation: int,
    turn: str | None,
    at: datetime,
) -> int:
    """Retire golden samples: record each, and add the training sample made of it.

    Args:
        con: a write transaction.
        rows: golden samples with the rule that takes them; one that retired before stays as it was.
        generation: that they leave.
        turn: that opens with it; None: they were just imported.
        at: when.

    Returns:
        How many were not retired before.
    """
    learned = [as_training(sample) for sample, _ in rows]
    cells = ((sample.id, copy.id, rule) for (sample, rule), copy in zip(rows, learned, strict=True))
    before = _number(con)
    with arriving(con, table(_ROW, cells)):
        con.execute(_ADD, {"generation": generation, "turn": turn, "at": stamp(at)})
    samples.add(con, learned, generation=None, bought_for=None, at=at)
    return _number(con) - before


def as_training(golden: Sample) -> Sample:
    """Return the training sample of a retired row: the same text and label, and whose they are.

    A person vouches for a golden label, whoever gave it first.
    """
    origin = golden.origin if golden.origin in ("seed", "person") else "person"
    return msgspec.structs.replace(
        golden,
        id=sample_id(golden.text, golden.intent, golden.arguments, origin, "train"),
        origin=origin,
        split="train",
        must_pass=False,
        provenance={**golden.provenance, "golden": golden.id},
    )


def any_rows(con: Connection) -> bool:
    """Whether any row has retired."""
    return _number(con) > 0


def listed(con: Connection) -> list[RetiredRow]:
    """Return every retired row, ordered by sample id."""
    return [
        RetiredRow(sample=samples.sample_of(row), generation=row["generation"], rule=row["rule"])
        for row in records(con, _LISTED)
    ]


def counts(con: Connection, generation: int) -> dict[str, int]:
    """Return how many rows of a generation each rule retired; rules without any are left out."""
    return dict(sorted(con.execute(_COUNTS, [generation]).fetchall()))


def worn(con: Connection, generation: int) -> int:
    """Return how many rows of earlier generations are learned."""
    sql = "SELECT count(*) FROM retired_rows WHERE generation < ?"
    return int(scalar(con, sql, [generation]))


def queries_answered(con: Connection, generation: int) -> dict[str, int]:
    """Return how many queries of a generation's ledger each sample answered; the others: none."""
    return dict(con.execute(_ANSWERED, {"generation": generation}).fetchall())


def asked(con: Connection) -> frozenset[str]:
    """Return the golden samples that a model was asked in the evaluation of a turn."""
    found = con.execute("SELECT DISTINCT sample FROM outcomes WHERE split = 'golden'").fetchall()
    return frozenset(name for (name,) in found)


def of_older_generations(con: Connection) -> list[tuple[Sample, int]]:
    """Return the samples that are not retired of generations before the current one, each with the
    newest of them."""
    return [(samples.sample_of(row), row["generation"]) for row in records(con, _OLDER)]


def _number(con: Connection) -> int:
    return int(scalar(con, "SELECT count(*) FROM retired_rows"))
