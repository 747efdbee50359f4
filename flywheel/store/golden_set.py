"""The golden set: generations, the ledger of their queries, labels that a person disputes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flywheel.errors import NotFound
from flywheel.store import decisions
from flywheel.store.columns import Connection, changed, moment, records, scalar, stamp

# Once rows were asked, what they answered can be seen, and a dispute could choose among them. So a
# dispute counts in the generation it was made in only where nothing was asked of it before; else
# from the next one on.

_ADD = """
    INSERT INTO disputes
    SELECT (SELECT coalesce(max(number), 0) + 1 FROM disputes), $sample, $disputed, $by, $because,
        $at::TIMESTAMP, (
            SELECT max(number) + (max(number) IN (SELECT generation FROM golden_queries))::BIGINT
            FROM generations
        )
    WHERE EXISTS (SELECT 1 FROM golden_rows WHERE sample = $sample)
"""

_LAST = """
    SELECT sample, disputed FROM disputes
    WHERE $generation IS NULL OR from_generation IS NULL OR from_generation <= $generation
    QUALIFY row_number() OVER (PARTITION BY sample ORDER BY number DESC) = 1
    ORDER BY sample
"""

_DISPUTERS = """
    SELECT sample, actor AS "by" FROM disputes
    WHERE disputed AND said_at >= (SELECT max(opened_at) FROM generations) ORDER BY number
"""


def set_disputed(
    con: Connection, sample: str, *, disputed: bool, by: str, because: str, at: datetime
) -> int:
    """Set a golden sample aside, or put it back, from the first generation that was not asked yet.

    That somebody did so is an event of the chain of decisions; the reason stands here alone.

    Returns:
        The number of that generation.

    Raises:
        NotFound: it is in no golden generation.
    """
    bound = {
        "sample": sample,
        "disputed": disputed,
        "by": by,
        "because": because,
        "at": stamp(at),
    }
    if not changed(con, _ADD, bound):
        raise NotFound(
            f"there is no golden sample {sample}",
            hint="`flywheel review show --json` names the samples of broken examples",
        )
    counts_from = int(
        scalar(con, "SELECT from_generation FROM disputes ORDER BY number DESC LIMIT 1")
    )
    what = "golden.disputed" if disputed else "golden.put_back"
    decisions.record_act(con, what, by, f"{sample}, from generation {counts_from} on", at)
    return counts_from


def disputed_samples(con: Connection, generation: int | None = None) -> tuple[str, ...]:
    """Return the ids of the samples in dispute.

    Args:
        con: a connection.
        generation: only by what was said before its rows were asked; None: by the last word.
    """
    rows = records(con, _LAST, {"generation": generation})
    return tuple(row["sample"] for row in rows if row["disputed"])


def disputed_by(con: Connection) -> dict[str, set[str]]:
    """Return the samples that each actor disputed in the current generation."""
    found: dict[str, set[str]] = {}
    for row in records(con, _DISPUTERS):
        found.setdefault(row["by"], set()).add(row["sample"])
    return found


# Golden generations and the ledger of the questions they have answered.
#
# A generation answers only so many questions before its answers are no longer evidence; so each
# question is written, and committed, before its answer is read.

_CURRENT = """
    SELECT number, seal, row_count, opened_at,
        (SELECT count(*) FROM golden_queries AS q WHERE q.generation = g.number) AS queries_used
    FROM generations AS g ORDER BY number DESC LIMIT 1
"""

_OPEN = """
    INSERT INTO generations
    SELECT coalesce(max(number), 0) + 1, '', 0, ? FROM generations
"""

_ASK = """
    INSERT INTO golden_queries
    SELECT (SELECT coalesce(max(number), 0) + 1 FROM golden_queries), ?, ?, ?, ?, ?
    WHERE NOT EXISTS (
        SELECT 1 FROM golden_queries
        WHERE generation = ? AND turn = ? AND challenger = ? AND gate = ?
    )
"""

_QUERIES = """
    SELECT generation, turn, challenger, gate, asked_at AS "at"
    FROM golden_queries WHERE generation = ? ORDER BY number
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One golden set in its numbered life."""

    number: int  # from 1
    seal: str  # hash of its rows; "" while it has none
    rows: int
    queries_used: int
    opened_at: datetime
    sealed: bool


def current_generation(con: Connection) -> Generation | None:
    """Return the newest generation; None before the first golden import."""
    found = records(con, _CURRENT)
    if not found:
        return None
    row = found[0]
    return Generation(
        number=row["number"],
        seal=row["seal"],
        rows=row["row_count"],
        queries_used=row["queries_used"],
        opened_at=moment(row["opened_at"]),
        sealed=bool(row["seal"]),
    )


def open_generation(con: Connection, at: datetime) -> int:
    """Open the next generation, still empty, and return its number."""
    con.execute(_OPEN, [stamp(at)])
    return int(scalar(con, "SELECT max(number) FROM generations"))


def reseal(con: Connection, number: int, seal: str, rows: int) -> None:
    """Set the hash and the number of rows that generation `number` has from now on.

    Raises:
        NotFound: there is no such generation.
    """
    sql = "UPDATE generations SET seal = ?, row_count = ? WHERE number = ?"
    if not changed(con, sql, [seal, rows, number]):
        raise NotFound(f"there is no golden generation {number}")


def write_query(
    con: Connection, generation: int, turn: str, challenger: str, gate: str, at: datetime
) -> None:
    """Write a question into the ledger; commit it before reading the answer.

    The same question of the same turn counts once, so a step repeated after a crash is free.
    """
    question = [generation, turn, challenger, gate]
    con.execute(_ASK, [*question, stamp(at), *question])


def queries(con: Connection, generation: int) -> list[dict[str, Any]]:
    """Return the ledger of a generation: {generation, turn, challenger, gate, at}, oldest first."""
    return [{**row, "at": moment(row["at"])} for row in records(con, _QUERIES, [generation])]
