"""Events from CSV files with a header: as the source `parquet`, a row is an event.

A row with the wrong number of cells, or in another encoding, is handed on with its bytes, and kept
among the rejected. Files may be compressed.

Options: `path`, a file or a glob; `encoding`, such as "cp1252" or "gbk" (default UTF-8, or UTF-16
as its first bytes say); `delimiter` (default the one that fits the header). Where that is no comma,
0,93 is a number. `links`: symbolic links are followed (default false).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from flywheel.file_records import csv_rows
from flywheel.protocols import Source
from flywheel.sources.parquet import TableFiles
from flywheel.sources.rows import event_of_csv


def source() -> Source:
    """The built-in source `csv`."""
    return TableFiles("csv", _rows, options=("encoding", "delimiter"))


def _rows(file: BinaryIO, path: str, options: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    reading = {name: str(options.get(name, "")) for name in ("encoding", "delimiter")}
    table = csv_rows.table(file, **reading)
    yield from (event_of_csv(row, table, path) for row in table.rows)
