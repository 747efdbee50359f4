"""Shared by sources: validated options, rows as events, and tolerant parsing of JSON lines."""

from __future__ import annotations

import base64
import importlib
import math
import os
import re
from collections.abc import Collection, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from flywheel.errors import FlywheelError
from flywheel.event_columns import columns_of
from flywheel.file_records.csv_rows import CsvRow, CsvTable
from flywheel.file_records.json_faults import NotJson, decoded
from flywheel.records import Feedback, Prediction, Sample

_TYPES = {
    column.name: column.type
    for event in (Prediction, Feedback, Sample)
    for column in columns_of(event)
}
UNREADABLE = frozenset({"unreadable", "unreadable_base64"})
"""Fields of an event for what cannot be read; the second where it is not UTF-8."""
_COMMA = re.compile(r"[-+]?\d+,\d+")


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


def event_of(row: Mapping[str, Any], *, decimal_comma: bool = False) -> dict[str, Any]:
    """Return a table's row as an event: without empty cells, `slices.channel` as an object.

    Args:
        row: cells by column.
        decimal_comma: a number may be written as 0,93.
    """
    event: dict[str, Any] = {}
    for column, cell in row.items():
        if cell is None or cell == "":
            continue
        named, _, inner = str(column).strip().partition(".")
        name = named.casefold() if named.casefold() in _TYPES else named
        value = _typed(name, cell, decimal_comma=decimal_comma) if not inner else _plain(cell)
        if value is None:
            continue
        if inner and isinstance(event.setdefault(name, {}), dict):
            event[name][inner] = value
        else:
            event[name] = value
    return event


def event_of_csv(row: CsvRow, table: CsvTable, path: str) -> dict[str, Any]:
    """Return a row of a CSV as an event; a bad one is unreadable, and names its place."""
    if row.cells:
        return event_of(row.cells, decimal_comma=table.decimal_comma)
    place = f"{path}:{row.line}"
    return unreadable(row.raw or os.fsencode(place), f"{place}: {row.why}", table.encoding)


def event_of_line(line: bytes | str | None, encoding: str = "") -> dict[str, Any]:
    """Return a line's JSON object; an unreadable line as `unreadable` has it, to be rejected.

    Args:
        line: UTF-8, or in `encoding`.
        encoding: as `decoding.checked_encoding` names it; "" for UTF-8.
    """
    raw = line.encode("utf-8", "surrogatepass") if isinstance(line, str) else line or b""
    if encoding:
        try:
            text = raw.decode(encoding)
        except UnicodeError as error:
            return unreadable(raw, f"is not {encoding}: {error}", encoding)
        raw = text.encode("utf-8", "surrogatepass")
    try:
        event = decoded(raw)
    except NotJson as error:
        return unreadable(raw, str(error), encoding)
    if isinstance(event, dict):
        return event
    return unreadable(raw, "no JSON object", encoding)


def unreadable(raw: bytes, why: str, encoding: str = "") -> dict[str, Any]:
    """An event for what cannot be read: the daemon rejects it, and keeps its bytes.

    Args:
        raw: the bytes as they were; of a file that cannot be read, its path.
        why: what is wrong with them.
        encoding: in which they were to be read.
    """
    told = {"why": why} | ({"encoding": encoding} if encoding else {})
    try:
        return {"unreadable": raw.decode(), **told}
    except UnicodeDecodeError:
        return {"unreadable_base64": base64.b64encode(raw).decode(), **told}


def _typed(name: str, cell: Any, *, decimal_comma: bool) -> Any:
    """The cell of a column as its event has it; None for no value."""
    kind = _TYPES.get(name)
    if kind == "number":
        return _number(cell, decimal_comma=decimal_comma)
    if kind in ("texts", "json", "list") and isinstance(cell, str) and cell[:1] in ("{", "["):
        try:
            return decoded(cell.encode())
        except (NotJson, UnicodeError):
            return cell  # for the daemon to reject
    if kind in ("texts", "json") and isinstance(cell, list) and not cell:
        return None  # a MAP without entries
    if kind == "time" and isinstance(cell, date) and not isinstance(cell, datetime):
        return f"{cell}T00:00:00+00:00"
    value = _plain(cell)
    if kind == "text" and isinstance(value, int | float) and not isinstance(value, bool):
        return str(int(value)) if value == int(value) else str(value)
    return value


def _number(cell: Any, *, decimal_comma: bool) -> Any:
    """A number; None for NaN; what is none is left for the daemon to judge."""
    if isinstance(cell, str) and _COMMA.fullmatch(cell.strip()):
        certain = decimal_comma or cell.strip().lstrip("+-").startswith("0,")
        cell = cell.replace(",", ".") if certain else cell
    try:
        number = float(cell)
    except (TypeError, ValueError):
        return _plain(cell)
    return number if math.isfinite(number) else None


def _plain(cell: Any) -> Any:
    """A cell as a JSON value; a time without a zone stays without one."""
    if isinstance(cell, datetime):
        return cell.isoformat()  # without a zone it has the one that `[flywheel] zone` names
    if isinstance(cell, date | UUID):
        return str(cell)
    if isinstance(cell, Decimal):
        return int(cell) if cell == cell.to_integral_value() else float(cell)
    if isinstance(cell, float):
        return cell if math.isfinite(cell) else None
    if isinstance(cell, bytes):
        return cell.decode(errors="backslashreplace")
    if isinstance(cell, list) and cell and all(isinstance(each, tuple) for each in cell):
        return {str(key): _plain(value) for key, value in cell}  # a MAP, as Arrow hands it on
    if isinstance(cell, Mapping):
        return {str(key): _plain(value) for key, value in cell.items()}
    if isinstance(cell, list | tuple):
        return [_plain(value) for value in cell]
    return cell
