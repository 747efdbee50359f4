"""What a turn's curation refused, read from the table that it writes."""

from __future__ import annotations

from flywheel.records import Refusal
from flywheel.store import Connection
from flywheel.store.columns import records
from flywheel.store.samples import sample_of


def refusals(con: Connection, turn: str) -> list[Refusal]:
    """Samples that the turn refused, in the order it gave."""
    rows = records(con, "SELECT * FROM refusals WHERE turn = ? ORDER BY rowid", [turn])
    return [Refusal(sample=sample_of(r), reason=r["reason"], detail=r["detail"]) for r in rows]
