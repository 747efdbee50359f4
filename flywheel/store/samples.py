"""Samples: what is trained on, chosen with and judged by; and those that were kept out.

Lists come ordered by id, so they do not depend on the order of arrival.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow

from flywheel.records import Arguments, Refusal, Sample
from flywheel.store.columns import (
    EACH,
    FLAG,
    REAL,
    TEXT,
    Connection,
    Row,
    arriving,
    bound,
    changed,
    pack,
    pack_or_none,
    records,
    stamp,
    table,
    unpack,
    unpack_or_none,
)
from flywheel.store.golden_set import (
    Generation,
    current_generation,
    open_generation,
    queries,
    reseal,
    write_query,
)

# A sample as a row of a table, and back; shared by the kept and the refused ones.

SAMPLE = pyarrow.schema(
    {
        "id": TEXT,
        "text": TEXT,
        "intent": TEXT,
        "arguments": TEXT,
        "origin": TEXT,
        "split": TEXT,
        "must_pass": FLAG,
        "family": TEXT,
        "slices": TEXT,
        "provenance": TEXT,
        "weight": REAL,
    }
)


def cells_of(sample: Sample) -> tuple[Any, ...]:
    """Return a sample in the order of `SAMPLE`."""
    return (
        sample.id,
        sample.text,
        sample.intent,
        pack_or_none(sample.arguments),
        sample.origin,
        sample.split,
        sample.must_pass,
        sample.family,
        pack(sample.slices),
        pack(sample.provenance),
        sample.weight,
    )


def sample_of(row: Row) -> Sample:
    """Return the sample in a row that has the columns of `SAMPLE`, and maybe others."""
    return Sample(
        id=row["id"],
        text=row["text"],
        intent=row["intent"],
        arguments=unpack_or_none(row["arguments"]),
        origin=row["origin"],
        split=row["split"],
        must_pass=row["must_pass"],
        family=row["family"],
        slices=unpack(row["slices"]),
        provenance=unpack(row["provenance"]),
        weight=row["weight"],
    )


__all__ = [
    "Generation",
    "GoldenSample",
    "StoredChoice",
    "add",
    "add_answers",
    "add_refusals",
    "answers",
    "current_generation",
    "dev",
    "fresh",
    "fresh_ids",
    "golden",
    "open_generation",
    "queries",
    "refusals",
    "reseal",
    "stats",
    "training",
    "use_fresh",
    "write_query",
]

_REFUSAL = pyarrow.schema([*SAMPLE, ("reason", TEXT), ("detail", TEXT)])
_ANSWER = pyarrow.schema({"sample": TEXT, "intent": TEXT, "arguments": TEXT})

_ADD = """
    INSERT INTO samples BY NAME
    SELECT * EXCLUDE (position), ? AS bought_for, ? AS added_at FROM arriving AS a
    WHERE NOT EXISTS (SELECT 1 FROM samples AS s WHERE s.id = a.id)
    QUALIFY row_number() OVER (PARTITION BY id ORDER BY position) = 1
    ORDER BY position
"""

_ADD_GOLDEN = """
    INSERT INTO golden_rows
    SELECT DISTINCT $1::INTEGER, a.id,
        $2 IS NOT NULL OR EXISTS (SELECT 1 FROM golden_queries AS q WHERE q.generation = $1),
        $2, $3::TIMESTAMP
    FROM arriving AS a
    WHERE NOT EXISTS (SELECT 1 FROM golden_rows AS g WHERE g.generation = $1 AND g.sample = a.id)
"""

_OF_SPLIT = "SELECT * FROM samples WHERE split = ? ORDER BY id"

# A retired golden row whose label a person doubts teaches nothing, whenever that was said.
_TRAINING = """
    SELECT * FROM samples WHERE split = 'train' AND id NOT IN (
        SELECT r.learned_as FROM retired_rows AS r JOIN (
            SELECT sample, disputed FROM disputes
            QUALIFY row_number() OVER (PARTITION BY sample ORDER BY number DESC) = 1
        ) AS d ON d.sample = r.sample AND d.disputed
    )
    ORDER BY id
"""

_FRESH = """
    SELECT * FROM samples AS s
    WHERE split = 'fresh' AND CASE WHEN $turn IS NULL
        THEN NOT EXISTS (SELECT 1 FROM fresh_uses AS u WHERE u.sample = s.id)
        ELSE EXISTS (SELECT 1 FROM fresh_uses AS u WHERE u.sample = s.id AND u.turn = $turn)
    END
    ORDER BY added_at, id
"""

_USE_FRESH = f"""
    INSERT INTO fresh_uses
    SELECT asked.id, ?, ?, ?::TIMESTAMP FROM ({EACH}) AS asked(id)
    WHERE NOT EXISTS (SELECT 1 FROM fresh_uses AS u WHERE u.sample = asked.id AND u.turn = ?)
"""  # noqa: S608

_GOLDEN = """
    SELECT s.*, g.bought, c.sample IS NOT NULL AS answered,
        c.intent AS answer_intent, c.arguments AS answer_arguments
    FROM golden_rows AS g
    JOIN samples AS s ON s.id = g.sample
    LEFT JOIN sample_answers AS c ON c.sample = s.id AND c.adapter = coalesce(
        $adapter, (SELECT adapter FROM champions ORDER BY number DESC LIMIT 1)
    )
    WHERE g.generation = coalesce($generation, (SELECT max(number) FROM generations))
        AND ($retired OR s.id NOT IN (SELECT sample FROM retired_rows))
    ORDER BY s.id
"""

_STATS = """
    SELECT split, origin, intent, count(*) AS count FROM samples
    WHERE split <> 'golden' OR id IN (
        SELECT sample FROM golden_rows
        WHERE generation = (SELECT max(number) FROM generations)
            AND sample NOT IN (SELECT sample FROM retired_rows)
    )
    GROUP BY ALL ORDER BY split, origin, intent
"""

_ADD_ANSWERS = """
    INSERT INTO sample_answers
    SELECT $adapter, sample, intent, arguments FROM arriving AS a
    WHERE NOT EXISTS (
        SELECT 1 FROM sample_answers AS c WHERE c.adapter = $adapter AND c.sample = a.sample
    )
    QUALIFY row_number() OVER (PARTITION BY sample ORDER BY position) = 1
"""

_ADD_REFUSALS = """
    INSERT INTO refusals BY NAME
    SELECT * EXCLUDE (position), $turn AS turn, $at::TIMESTAMP AS refused_at FROM arriving AS a
    WHERE NOT EXISTS (
        SELECT 1 FROM refusals AS r
        WHERE r.turn = $turn AND r.id = a.id AND r.reason = a.reason AND r.detail = a.detail
    )
    QUALIFY row_number() OVER (PARTITION BY id, reason, detail ORDER BY position) = 1
    ORDER BY position
"""


_REFUSALS = """
    SELECT * FROM refusals WHERE turn = $turn AND ($reason = '' OR reason = $reason) ORDER BY rowid
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredChoice:
    """What a model once answered for a sample."""

    intent: str
    arguments: Arguments | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenSample:
    """A sample in a golden generation."""

    sample: Sample
    bought: bool  # its label came after the generation had answered a query
    answer: StoredChoice | None  # of a champion that cannot be run again


def add(
    con: Connection,
    samples: Sequence[Sample],
    *,
    generation: int | None,
    bought_for: str | None,
    at: datetime,
) -> int:
    """Store samples and return how many were new (golden ones: new in the generation).

    Args:
        con: a write transaction.
        samples: a repeated id keeps the first.
        generation: where golden samples go; other splits ignore it.
        bought_for: what asked for these labels, such as a decision. A golden sample counts as
            bought when this is given, or when its generation has answered a query already.
        at: when they were added.

    Raises:
        ValueError: there are golden samples and no `generation`.
    """
    held_out = [sample for sample in samples if sample.split == "golden"]
    if held_out and generation is None:
        raise ValueError(f"{len(held_out)} golden samples without a generation")
    others = [sample for sample in samples if sample.split != "golden"]
    origin = [bought_for, stamp(at)]
    new = 0
    if others:
        with arriving(con, table(SAMPLE, map(cells_of, others))):
            new = changed(con, _ADD, origin)
    if held_out:
        with arriving(con, table(SAMPLE, map(cells_of, held_out))):
            con.execute(_ADD, origin)  # may be there from an earlier generation
            new += changed(con, _ADD_GOLDEN, [generation, *origin])
    return new


def training(con: Connection) -> list[Sample]:
    """Return the samples of split train, those of retired golden rows among them."""
    return [sample_of(row) for row in records(con, _TRAINING)]


def dev(con: Connection) -> list[Sample]:
    """Return the samples of split dev."""
    return [sample_of(row) for row in records(con, _OF_SPLIT, ["dev"])]


def fresh(con: Connection, asked_by: str | None = None) -> list[Sample]:
    """Return the fresh samples that no turn has asked yet, or those that one turn has asked."""
    return [sample_of(row) for row in records(con, _FRESH, {"turn": asked_by})]


def fresh_ids(con: Connection) -> frozenset[str]:
    """Return the ids of all samples of split fresh, asked or not."""
    found = con.execute("SELECT id FROM samples WHERE split = 'fresh'").fetchall()
    return frozenset(name for (name,) in found)


def use_fresh(
    con: Connection, asked: Sequence[str], turn: str, challenger: str, at: datetime
) -> None:
    """Note that a turn asks these fresh samples; commit it before reading their answers."""
    if asked:
        con.execute(_USE_FRESH, [turn, challenger, stamp(at), bound(asked), turn])


def golden(
    con: Connection,
    generation: int | None = None,
    *,
    answered_by: str | None = None,
    retired: bool = False,
) -> list[GoldenSample]:
    """Return the rows of a golden generation that judge, by default of the current one.

    Args:
        con: a connection.
        generation: its number; None: the newest.
        answered_by: whose recorded answers `answer` holds; None: the champion's.
        retired: with the rows that judged once and are learned now (`store.retired`).
    """
    bound = {"generation": generation, "adapter": answered_by, "retired": retired}
    return [
        GoldenSample(
            sample=sample_of(row),
            bought=row["bought"],
            answer=StoredChoice(
                intent=row["answer_intent"], arguments=unpack_or_none(row["answer_arguments"])
            )
            if row["answered"]
            else None,
        )
        for row in records(con, _GOLDEN, bound)
    ]


def stats(con: Connection) -> list[dict[str, Any]]:
    """Count samples: {split, origin, intent, count}; golden ones are those that judge now."""
    return records(con, _STATS)


def add_answers(
    con: Connection, adapter: str, rows: Sequence[tuple[str, str, Arguments | None]]
) -> int:
    """Store what a model answered, as (sample id, intent, arguments); the first answer stays."""
    if not rows:
        return 0
    cells = ((sample, intent, pack_or_none(arguments)) for sample, intent, arguments in rows)
    with arriving(con, table(_ANSWER, cells)):
        return changed(con, _ADD_ANSWERS, {"adapter": adapter})


def answers(con: Connection, adapter: str) -> dict[str, tuple[str, Arguments | None]]:
    """Return what a model answered, by sample id."""
    sql = "SELECT sample, intent, arguments FROM sample_answers WHERE adapter = ? ORDER BY sample"
    return {
        sample: (intent, unpack_or_none(arguments))
        for sample, intent, arguments in con.execute(sql, [adapter]).fetchall()
    }


def refusals(con: Connection, turn: str, reason: str = "") -> list[Refusal]:
    """Return what a turn's curation refused or doubted, in its order; "" is every reason."""
    rows = records(con, _REFUSALS, {"turn": turn, "reason": reason})
    return [Refusal(sample=sample_of(r), reason=r["reason"], detail=r["detail"]) for r in rows]


def add_refusals(con: Connection, turn: str, refused: Sequence[Refusal], at: datetime) -> int:
    """Keep the samples a turn refused, with their reasons, and return how many were new."""
    if not refused:
        return 0
    cells = ((*cells_of(r.sample), r.reason, r.detail) for r in refused)
    with arriving(con, table(_REFUSAL, cells)):
        return changed(con, _ADD_REFUSALS, {"turn": turn, "at": stamp(at)})
