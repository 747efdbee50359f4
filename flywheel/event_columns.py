"""Columns of an event, as its Struct in `records` declares them.

The tables' Arrow schema, the lines of the spool, the reader of native events and the OpenAPI
request schema are derived from these. So a new column is one field of the Struct and a migration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Optional, get_args

import msgspec
from msgspec import inspect

ColumnType = Literal["text", "number", "whole", "flag", "time", "texts", "json", "list"]
_TYPES: Mapping[type[inspect.Type], ColumnType] = {
    inspect.StrType: "text",
    inspect.LiteralType: "text",
    inspect.FloatType: "number",
    inspect.IntType: "whole",
    inspect.BoolType: "flag",
    inspect.DateTimeType: "time",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EventColumn:
    """One field of an event's Struct, which is one column of the event's table."""

    name: str
    type: ColumnType  # "texts": an object of texts; "json": an object of anything; "list": of items
    required: bool
    default: Any = None  # of an event without it; {} is a fresh one
    choices: tuple[str, ...] = ()  # a text must be one of these; (): any
    fraction: bool = False  # a number in 0..1
    least: float | None = None  # a number may not be less; one that is refuses the event
    most: float | None = None

    @property
    def is_json(self) -> bool:
        """Whether it is stored as JSON text."""
        return self.type in ("texts", "json", "list")


@cache
def columns_of(event: type[msgspec.Struct]) -> tuple[EventColumn, ...]:
    """The columns of a kind of event, in the order of the Struct's fields.

    Raises:
        TypeError: a field has a type that no column has.
    """
    described = inspect.type_info(event)
    assert isinstance(described, inspect.StructType)
    declared = {field.name: field.type for field in msgspec.structs.fields(event)}
    return tuple(_column(event, field, declared[field.name]) for field in described.fields)


def json_form(
    event: type[msgspec.Struct],
    name: str,
    *,
    doc: str,
    changed: Mapping[str, tuple[Any, ...]] | None = None,
    without: tuple[str, ...] = (),
) -> Any:
    """Return the Struct of an event as it is sent, for the OpenAPI document.

    Args:
        event: the Struct of the record.
        name, doc: of the new Struct.
        changed: by name, type and default of fields that JSON has in another form.
        without: fields that JSON does not have.
    """
    fields: dict[str, tuple[Any, ...]] = {
        field.name: (field.type,)
        if field.required
        else (field.type, msgspec.field(default_factory=field.default_factory))
        if field.default_factory is not msgspec.NODEFAULT
        else (field.type, field.default)
        for field in msgspec.structs.fields(event)
        if field.name not in without
    }
    return _struct(event, name, doc, {**fields, **(changed or {})})


def spool_form(
    event: type[msgspec.Struct],
    name: str,
    *,
    doc: str,
    tag: str,
    changed: Mapping[str, tuple[Any, ...]] | None = None,
    rename: Mapping[str, str] | None = None,
) -> Any:
    """Return the Struct of an event as a line of the spool, which names its kind by `tag`.

    What has a default may be null: that says the same as a line without it, and is not written.
    `rename` gives fields another name in the line. The other arguments are as of `json_form`.
    """
    fields: dict[str, tuple[Any, ...]] = {
        field.name: (field.type,) if field.required else (Optional[field.type], None)  # noqa: UP045
        for field in msgspec.structs.fields(event)
    }
    return _struct(event, name, doc, {**fields, **(changed or {})}, tag, rename)


def _struct(
    event: type[msgspec.Struct],
    name: str,
    doc: str,
    fields: Mapping[str, tuple[Any, ...]],
    tag: str | None = None,
    rename: Mapping[str, str] | None = None,
) -> Any:
    form = msgspec.defstruct(
        name,
        [(field, *how) for field, how in fields.items()],
        module=event.__module__,
        kw_only=True,
        omit_defaults=True,
        gc=False,
        tag_field="kind" if tag else None,
        tag=tag,
        rename=rename,
        forbid_unknown_fields=tag is not None,  # a misspelt field is for the general reader
    )
    form.__doc__ = doc
    return form


def _column(event: type[msgspec.Struct], field: inspect.Field, declared: Any) -> EventColumn:
    kind = field.type
    if isinstance(kind, inspect.UnionType):  # with None
        (kind,) = (one for one in kind.types if not isinstance(one, inspect.NoneType))
    if isinstance(kind, inspect.DictType):
        texts = isinstance(kind.value_type, inspect.StrType)
        column: ColumnType = "texts" if texts else "json"
    elif isinstance(kind, inspect.VarTupleType):
        column = "list"
    elif type(kind) in _TYPES:
        column = _TYPES[type(kind)]
    else:
        raise TypeError(f"{event.__name__}.{field.name}: no column has the type {kind}")
    fraction = isinstance(kind, inspect.FloatType) and (kind.ge, kind.le) == (0, 1)
    return EventColumn(
        name=field.name,
        type=column,
        required=field.required,
        default={} if field.default_factory is dict else _or_none(field.default),
        choices=get_args(declared) if isinstance(kind, inspect.LiteralType) else (),
        fraction=fraction,
        least=None if fraction else getattr(kind, "ge", None),
        most=None if fraction else getattr(kind, "le", None),
    )


def _or_none(default: Any) -> Any:
    return None if default is msgspec.NODEFAULT else default
