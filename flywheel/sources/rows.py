"""What the sources share: checked options, rows as events, and lines that may be no JSON."""

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
_SHOWN = 2_000  # characters of what cannot be read


def checked(
    name: str, options: Mapping[str, Any], needed: Collection[str], known: Collection[str] = ()
) -> None:
    """Refuse options that a source does not know, and the lack of those it needs.

    Raises:
        FlywheelError: it names the option.
    """
    takes = ", ".join(f"`{each}`" for each in (*needed, *known))
    for unknown in sorted(set(options) - {*needed, *known}):
        raise FlywheelError(
            f"the source {name} knows no option `{unknown}`", hint=f"it takes {takes}"
        )
    for missing in sorted(each for each in needed if not options.get(each)):
        raise FlywheelError(f"the source {name} needs the option `{missing}`", hint=f"of {takes}")


def from_environment(source: str, option: str, name: str) -> str:
    """The secret in the environment variable that an option names.

    Raises:
        FlywheelError: it is not set.
    """
    value = os.environ.get(name, "")
    if not value:
        raise FlywheelError(f"the source {source}: {name} is not set", hint=f"`{option}` names it")
    return value


def library(module: str, extra: str) -> Any:
    """A library that only one source needs.

    Raises:
        FlywheelError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise FlywheelError(
            f"{module} is not installed", hint=f"pip install 'flywheel[{extra}]'"
        ) from error


def event_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """A table's row as an event: empty cells left out, `slices.channel` an object."""
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
    """A line's object. What is none is handed on as it is, to be kept among the rejected."""
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
    """A cell as JSON has it; a time without a zone is UTC."""
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
