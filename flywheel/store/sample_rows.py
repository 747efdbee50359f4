"""A sample as a row of a table, and back; shared by the kept and the refused ones."""

from __future__ import annotations

from typing import Any

import pyarrow

from flywheel.records import Sample
from flywheel.store.columns import (
    FLAG,
    REAL,
    TEXT,
    Row,
    pack,
    pack_or_none,
    unpack,
    unpack_or_none,
)

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
