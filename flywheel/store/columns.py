"""How records become columns, and rows become records again.

Times are stored as UTC without a zone, JSON as text with sorted keys, so that equal values
are equal text. Many rows go in as one Arrow table and one statement, never one by one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeAlias, TypeVar

import duckdb
import msgspec
import pyarrow
import pyarrow.compute as pc
import pyarrow.dataset  # by duckdb, for the first table that it is shown; not while events wait

from flywheel.event_columns import ColumnType, columns_of

Connection: TypeAlias = duckdb.DuckDBPyConnection
Row: TypeAlias = dict[str, Any]
Bound: TypeAlias = Sequence[Any] | Mapping[str, Any]  # for `?` and `$1`, or for `$name`

TEXT = pyarrow.string()
REAL = pyarrow.float64()
WHOLE = pyarrow.int64()
FLAG = pyarrow.bool_()
TIME = pyarrow.timestamp("us")
_ARROW: Mapping[ColumnType, pyarrow.DataType] = {
    "text": TEXT,
    "number": REAL,
    "whole": WHOLE,
    "flag": FLAG,
    "time": TIME,
    "texts": TEXT,
    "json": TEXT,
    "list": TEXT,
}
Event = TypeVar("Event", bound=msgspec.Struct)

_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


def stamp(moment: datetime) -> datetime:
    """Return `moment` as stored: UTC, without a zone.

    Raises:
        ValueError: `moment` has no timezone.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no timezone")
    return moment.astimezone(UTC).replace(tzinfo=None)


def moment(stamp: datetime) -> datetime:
    """Return a stored time with its zone, UTC."""
    return stamp.replace(tzinfo=UTC)


def moment_or_none(stamp: datetime | None) -> datetime | None:
    """Return a stored time with its zone, UTC; None stays None."""
    return None if stamp is None else moment(stamp)


def pack(value: Mapping[str, Any] | Sequence[Any]) -> str:
    """Return JSON text; the same text for the same value, whatever the order of keys."""
    if not value:
        return "[]" if isinstance(value, list | tuple) else "{}"
    return _encode(dict(value) if isinstance(value, Mapping) else msgspec.to_builtins(value))


def pack_or_none(value: Mapping[str, Any] | None) -> str | None:
    """Return JSON text; None stays None."""
    return None if value is None else pack(value)


def unpack(text: str) -> Any:
    """Return what `pack` was given."""
    return {} if text == "{}" else json.loads(text)


def unpack_or_none(text: str | None) -> Any:
    """Return what `pack_or_none` was given."""
    return None if text is None else unpack(text)


def schema_of(event: type[msgspec.Struct]) -> pyarrow.Schema:
    """The columns of an event's table."""
    return pyarrow.schema({column.name: _ARROW[column.type] for column in columns_of(event)})


def event_table(event: type[Event], events: Sequence[Event]) -> pyarrow.Table:
    """Return events as rows of their table. Times have their zone."""
    return table_of(
        schema_of(event),
        {
            column.name: [pack_or_none(getattr(one, column.name)) for one in events]
            if column.is_json
            else [getattr(one, column.name) for one in events]
            for column in columns_of(event)
        },
    )


def table(schema: pyarrow.Schema, rows: Iterable[Sequence[Any]]) -> pyarrow.Table:
    """Return rows (tuples in the schema's order) as columns, with a last column `position`.

    `position` counts from 0; statements use it to keep the first of equal ids.
    """
    columns: list[Sequence[Any]] = list(zip(*rows, strict=True)) or [()] * len(schema)
    arrays = [
        pyarrow.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)
    ]
    arrays.append(pyarrow.array(range(len(columns[0])), WHOLE))
    return pyarrow.table(arrays, names=[*schema.names, "position"])


def table_of(schema: pyarrow.Schema, columns: Mapping[str, Sequence[Any]]) -> pyarrow.Table:
    """Return columns as a table. Times have their zone."""
    arrays = [
        _times(columns[field.name])
        if field.type == TIME
        else pyarrow.array(columns[field.name], field.type)
        for field in schema
    ]
    return pyarrow.table(arrays, names=schema.names)


def once(rows: pyarrow.Table) -> pyarrow.Table:
    """Return the rows in which each `id` is once, as it came first."""
    if pc.count_distinct(rows["id"]).as_py() == rows.num_rows:
        return rows
    numbered = pyarrow.table({"id": rows["id"], "at": pyarrow.array(range(rows.num_rows))})
    first = numbered.group_by("id").aggregate([("at", "min")])
    places = first["at_min"]
    return rows.take(places.take(pc.sort_indices(places)))


def _times(moments: Sequence[datetime]) -> pyarrow.Array:
    if any(moment.tzinfo is None for moment in moments):
        raise ValueError("a time has no timezone")
    return pyarrow.array(moments, pyarrow.timestamp("us", tz="UTC")).cast(TIME)


@contextmanager
def arriving(con: Connection, rows: pyarrow.Table) -> Iterator[None]:
    """Show `rows` to statements as the table `arriving`."""
    con.register("arriving", rows)
    yield
    con.unregister("arriving")  # after an error the rollback takes the name away


EACH = """SELECT unnest(from_json(?, '["VARCHAR"]'))"""
"""SQL of a row for each of many texts, bound by `bound`."""


def bound(texts: Iterable[str]) -> str:
    """Many texts as one parameter: DuckDB takes half a millisecond over each item of a list."""
    return json.dumps(list(texts))


def changed(con: Connection, sql: str, parameters: Bound = ()) -> int:
    """Run an INSERT, UPDATE or DELETE and return how many rows it touched."""
    return int(scalar(con, sql, parameters) or 0)


def scalar(con: Connection, sql: str, parameters: Bound = ()) -> Any:
    """Return the first column of the first row; None when there is no row."""
    row = first_row(con, sql, parameters)
    return row[0] if row else None


def first_row(con: Connection, sql: str, parameters: Bound = ()) -> tuple[Any, ...] | None:
    """Return the first row; None when there is no row.

    It reads all of them: DuckDB 2 keeps a connection busy until the last row is read, and what is
    not read holds a transaction open.
    """
    rows = con.execute(sql, parameters).fetchall()
    return rows[0] if rows else None


def records(con: Connection, sql: str, parameters: Bound = ()) -> list[Row]:
    """Return all rows as dictionaries by column name."""
    con.execute(sql, parameters)
    names = [column[0] for column in con.description or ()]
    return [dict(zip(names, row, strict=True)) for row in con.fetchall()]
