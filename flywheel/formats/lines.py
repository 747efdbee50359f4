"""Many events at once, as JSON or newline-delimited JSON; one bad line spoils no other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec

from flywheel.formats.dispatch import AUTO, parse
from flywheel.formats.reading import BadEvent, Parsed, RejectedLine, merged
from flywheel.records import Intent

_BOM = b"\xef\xbb\xbf"
_SHOWN = 1_000  # bytes kept of a line that is refused for its length
_BROKEN = (msgspec.DecodeError, UnicodeError, RecursionError)


def read_lines(
    kind: str | None,
    lines: Iterable[bytes],
    known: Mapping[str, Intent] | None = None,
    *,
    format: str = AUTO,
    context_turns: int = 0,
    received: datetime | None = None,
    max_line_bytes: int | None = None,
) -> Parsed:
    """Return what the lines say together; each bad one is in `rejected`, whole, with its number.

    Args:
        kind: "predictions", "feedback" or "samples"; None: by each event's shape.
        lines: one JSON object each, with or without line ends; blank ones are passed over.
        known, format, context_turns, received: as `parse`.
        max_line_bytes: a longer line is rejected, and its first 1,000 bytes are kept.

    Raises:
        ValueError: `kind` or `format` is none of the known.
    """
    return read_numbered(
        _numbered(lines),
        kind,
        known,
        format=format,
        context_turns=context_turns,
        received=received,
        max_line_bytes=max_line_bytes,
    )


def read_numbered(
    lines: Iterable[tuple[int, bytes]],
    kind: str | None,
    known: Mapping[str, Intent] | None = None,
    *,
    format: str = AUTO,
    context_turns: int = 0,
    received: datetime | None = None,
    max_line_bytes: int | None = None,
) -> Parsed:
    """Return as `read_lines` what lines say that are numbered already and not blank."""

    def one(raw: bytes, number: int) -> Parsed:
        if max_line_bytes is not None and len(raw) > max_line_bytes:
            why = f"is {len(raw)} bytes long, above {max_line_bytes}"
            return _rejected(raw[:_SHOWN], number, BadEvent(format, "", why))
        try:
            event = msgspec.json.decode(raw)
        except _BROKEN:
            return _rejected(raw, number, BadEvent(format, "", "is not JSON"))
        try:
            said = parse(event, kind, format, context_turns, received=received, known=known)
            return _at(said, number) if said.rejected else said
        except BadEvent as error:
            return _rejected(raw, number, error)

    return merged(one(raw, number) for number, raw in lines)


def read_body(kind: str | None, body: bytes, **options: Any) -> Parsed:
    """Return what a request's body says: one JSON object however it is laid out, a list of
    objects, or a line for each.

    Args:
        kind: as `read_lines`.
        body: UTF-8.
        options: as `read_lines`.

    Raises:
        ValueError: as `read_lines`.
    """
    try:
        whole = msgspec.json.decode(body.removeprefix(_BOM))
    except _BROKEN:
        return read_lines(kind, body.split(b"\n"), **options)
    if isinstance(whole, list):
        return read_lines(kind, map(msgspec.json.encode, whole), **options)
    return read_lines(kind, [body.removeprefix(_BOM).strip()], **options)


def _numbered(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    for number, raw in enumerate(lines, 1):
        line = raw.removeprefix(_BOM) if number == 1 else raw
        if stripped := line.strip():
            yield number, stripped


def _at(said: Parsed, number: int) -> Parsed:
    """The same with the line's number on what was rejected inside its event."""
    return replace(said, rejected=tuple(replace(bad, line=number) for bad in said.rejected))


def _rejected(raw: bytes, number: int, error: BadEvent) -> Parsed:
    line = RejectedLine(
        line=number,
        raw=raw.decode("utf-8", "replace"),
        field=error.field,
        why=error.why,
        format=error.format,
    )
    return Parsed(rejected=(line,))
