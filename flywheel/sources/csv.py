"""Events from CSV files with a header: as the source `parquet`, a row is an event.

A row with the wrong number of cells is handed on, and kept among the rejected.

Options: `path`, a file or a glob.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from flywheel.protocols import Source
from flywheel.sources.parquet import TableFiles
from flywheel.sources.rows import event_of


def source() -> Source:
    """The built-in source `csv`."""
    return TableFiles("csv", _rows)


def _rows(path: str) -> Iterator[Mapping[str, Any]]:
    with Path(path).open(encoding="utf-8-sig", errors="replace", newline="") as file:
        for row in csv.DictReader(file):
            if None in row or None in row.values():
                yield {"unreadable": str(list(row.values()))[:2_000], "why": "wrong cell count"}
            else:
                yield event_of(row)
