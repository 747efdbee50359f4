"""Golden labels that a person doubts; the last word on a sample counts."""

from __future__ import annotations

from datetime import datetime

from flywheel.errors import NotFound
from flywheel.store.columns import Connection, changed, records, stamp

_ADD = """
    INSERT INTO disputes
    SELECT (SELECT coalesce(max(number), 0) + 1 FROM disputes), $sample, $disputed, $by, $because,
        $at::TIMESTAMP
    WHERE EXISTS (SELECT 1 FROM golden_rows WHERE sample = $sample)
"""

_LAST = """
    SELECT sample, disputed, actor AS "by", because, said_at AS "at" FROM disputes
    QUALIFY row_number() OVER (PARTITION BY sample ORDER BY number DESC) = 1
    ORDER BY sample
"""


def add(
    con: Connection, sample: str, *, disputed: bool, by: str, because: str, at: datetime
) -> None:
    """Set a golden sample aside, or put it back.

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


def standing(con: Connection) -> tuple[str, ...]:
    """Return the ids of the samples in dispute now."""
    return tuple(row["sample"] for row in records(con, _LAST) if row["disputed"])
