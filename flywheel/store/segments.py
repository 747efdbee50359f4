"""Segments of the spool, read by DuckDB itself: many times the speed of Python, and outside of it.

What is not quite usual is left to the caller: a damaged line, a line that a crash tore.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow
import pyarrow.compute as pc

from flywheel.event_columns import ColumnType, EventColumn, columns_of
from flywheel.records import Feedback, Prediction, Score
from flywheel.store.archive import literal
from flywheel.store.columns import Connection, moment, pack

FOLDER = "spool"
_DUCKDB: Mapping[ColumnType, str] = {
    "text": "VARCHAR",
    "number": "DOUBLE",
    "whole": "BIGINT",
    "flag": "BOOLEAN",
    "time": "TIMESTAMP",
    "texts": "VARCHAR",  # objects: what is read is their JSON
    "json": "VARCHAR",
    "list": "VARCHAR",
}
_EVENTS = (Prediction, Feedback, Score)
_KIND = "score_kind"  # of a score; `kind` says what the line is
_COLUMNS = {
    **dict.fromkeys(
        ("kind", "sent_as", "raw", "field", "why", "format", "encoding", _KIND), "VARCHAR"
    ),
    "line": "BIGINT",
    "at": "TIMESTAMP",
    **{
        one.name: _DUCKDB[one.type]
        for event in _EVENTS
        for one in columns_of(event)
        if one.name != "kind"
    },
}
_READ = """
    SELECT * FROM read_json(
        {files}, format = 'newline_delimited', columns = {columns}, maximum_object_size = {longest}
    )
"""
_LONGEST = 2 << 20  # bytes of a line; parts of a segment, twice that long, are read side by side
_KINDS = ("predictions", "feedback", "scores", "rejected")
_REJECTED = ("sent_as", "line", "raw", "field", "why", "at")  # that each of them has
_REJECTED_TEXTS = ("format", "encoding")  # that a line may lack
_WRITTEN_OTHERWISE = r"\\u|[0-9][.eE]"  # JSON that another writer may spell in another way


@dataclass(frozen=True, slots=True, kw_only=True)
class Segments:
    """What segments hold, as columns of the tables."""

    predictions: pyarrow.Table
    feedback: pyarrow.Table
    scores: pyarrow.Table
    rejected: list[dict[str, Any]]
    rows: int


def read(con: Connection, files: Sequence[Path]) -> Segments | None:
    """Read whole segments; None where a line is not as the spool writes it."""
    columns = "{" + ", ".join(f"'{name}': '{kind}'" for name, kind in _COLUMNS.items()) + "}"
    names = literal([path.resolve() for path in files])
    sql = _READ.format(files=names, columns=columns, longest=_LONGEST)
    try:
        rows = con.sql(sql).to_arrow_table()
    except (duckdb.InvalidInputException, duckdb.ConversionException, duckdb.PermissionException):
        return None
    counted = pc.value_counts(rows["kind"]).to_pylist()
    count = {one["values"]: one["counts"] for one in counted}
    parts = [_of(rows, kind, count.pop(kind, 0)) for kind in _KINDS]
    predictions, feedback, scores, rejected = parts
    if count or not _full(rejected, _REJECTED):
        return None
    of = ((predictions, Prediction), (feedback, Feedback), (scores, Score))
    if not all(_full(read, _required(event)) for read, event in of):
        return None
    return Segments(
        predictions=_events(predictions, Prediction),
        feedback=_events(feedback, Feedback),
        scores=_events(scores, Score),
        rejected=[
            _rejected(row) for row in rejected.select([*_REJECTED, *_REJECTED_TEXTS]).to_pylist()
        ],
        rows=rows.num_rows,
    )


def _of(rows: pyarrow.Table, kind: str, count: int) -> pyarrow.Table:
    """The rows of a kind, of which there are so many."""
    if count in (0, rows.num_rows):
        return rows.slice(0, count)
    return rows.filter(pc.equal(rows["kind"], kind))


def _full(rows: pyarrow.Table, names: Sequence[str]) -> bool:
    return all(rows[name].null_count == 0 for name in names)


def _required(event: type[msgspec.Struct]) -> list[str]:
    return [_read_as(event, column) for column in columns_of(event) if column.required]


def _read_as(event: type[msgspec.Struct], column: EventColumn) -> str:
    """The name that a column has in a line of the spool."""
    return _KIND if event is Score and column.name == "kind" else column.name


def _events(rows: pyarrow.Table, event: type[msgspec.Struct]) -> pyarrow.Table:
    """The columns of the event's table; what is not there has its default."""
    return pyarrow.table(
        {one.name: _cells(rows[_read_as(event, one)], one) for one in columns_of(event)}
    )


def _cells(read: pyarrow.ChunkedArray, column: EventColumn) -> pyarrow.ChunkedArray:
    if column.default is not None:
        read = pc.fill_null(read, pack(column.default) if column.is_json else column.default)
    return _packed(read) if column.is_json else read


def _rejected(row: dict[str, Any]) -> dict[str, Any]:
    at: datetime = row["at"]
    texts = {name: row[name] or "" for name in _REJECTED_TEXTS}
    return {**row, **texts, "at": moment(at)}


def _packed(texts: pyarrow.ChunkedArray) -> pyarrow.ChunkedArray:
    """JSON as the tables hold it. The spool sorts keys; only how values are spelt may differ."""
    different = pc.unique(texts).drop_null()
    spelt = different.filter(pc.match_substring_regex(different, _WRITTEN_OTHERWISE)).to_pylist()
    if not spelt:
        return texts
    otherwise = pyarrow.array(spelt, texts.type)
    packed = pyarrow.array([pack(json.loads(text)) for text in spelt], texts.type)
    known = pc.index_in(texts, value_set=otherwise)
    return pc.coalesce(packed.take(known), texts)
