"""Shared by sources: validated options, rows as events, and tolerant parsing of JSON lines."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from flywheel.errors import FlywheelError
from flywheel.event_columns import columns_of
from flywheel.records import Prediction, Sample

_NUMBERS = frozenset(
    column.name
    for event in (Prediction, Sample)
    for column in columns_of(event)
    if column.type == "number"
)
_SHOWN = 2_000  # characters of an unreadable line that are kept


def checked(
    name: str, options: Mapping[str, Any], needed: Collection[str], known: Collection[str] = ()
) -> None:
    """Check that all needed options are there and no unknown ones.

    Raises:
        FlywheelError: it names the option.
    """
    takes = ", ".join(f"`{option}`" for option in (*needed, *known))
    for unknown in sorted(set(options) - {*needed, *known}):
        raise FlywheelError(
            f"the source {name} knows no option `{unknown}`", hint=f"it takes {takes}"
        )
    for missing in sorted(option for option in needed if not options.get(option)):
        raise FlywheelError(f"the source {name} needs the option `{missing}`", hint=f"of {takes}")


def from_environment(source: str, option: str, name: str) -> str:
    """Return the secret in the environment variable that an option names.

    Raises:
        FlywheelError: it is not set.
    """
    value = os.environ.get(name, "")
    if not value:
        raise FlywheelError(f"the source {source}: {name} is not set", hint=f"`{option}` names it")
    return value


def library(module: str, extra: str) -> Any:
    """Import and return an optional library.

    Raises:
        FlywheelError: it is not installed; the hint names the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise FlywheelError(
            f"{module} is not installed", hint=f"pip install 'flywheel[{extra}]'"
        ) from error


def event_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table's row as an event: without empty cells, `slices.channel` as an object."""
    event: dict[str, Any] = {}
    for column, cell in row.items():
        if cell is None or cell == "":
            continue
        name, _, inner = str(column).partition(".")
        value = _number(cell) if name in _NUMBERS else _plain(cell)
        if inner and isinstance(event.setdefault(name, {}), dict):
            event[name][inner] = value
        else:
            event[name] = value
    return event


def event_of_line(line: bytes | str | None) -> dict[str, Any]:
    """Return a line's JSON object; an unreadable line as {"unreadable", "why"}, to be rejected."""
    text = line.decode(errors="replace") if isinstance(line, bytes) else line or ""
    try:
        event = json.loads(text)
    except (ValueError, RecursionError) as error:
        return {"unreadable": text[:_SHOWN], "why": f"no JSON: {error}"}
    if isinstance(event, dict):
        return event
    return {"unreadable": text[:_SHOWN], "why": "no JSON object"}


def _number(cell: Any) -> Any:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return _plain(cell)


def _plain(cell: Any) -> Any:
    """A cell as a JSON value; a time without a zone is taken as UTC."""
    if isinstance(cell, datetime):
        return (cell if cell.tzinfo else cell.replace(tzinfo=UTC)).isoformat()
    if isinstance(cell, date | UUID):
        return str(cell)
    if isinstance(cell, Decimal):
        return float(cell)
    if isinstance(cell, bytes):
        return cell.decode(errors="replace")
    if isinstance(cell, Mapping):
        return {str(key): _plain(value) for key, value in cell.items()}
    if isinstance(cell, list | tuple):
        return [_plain(value) for value in cell]
    return cell
