"""Events in any known format, one or many: which format it is, and what they say.

Many are read from JSON or newline-delimited JSON; a bad line is rejected with its number and
reason, and the others are read all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol, cast

import msgspec

from flywheel.formats import (
    anthropic,
    gemini,
    langfuse,
    litellm,
    mlflow,
    native,
    openai,
    openai_responses,
    openinference,
    otel,
    phoenix,
    rasa,
    sft,
    tensorzero,
)
from flywheel.formats.reading import BadEvent, Context, Fields, Parsed, RejectedLine, merged
from flywheel.records import Intent, Prediction, Sample

AUTO = "auto"
KINDS = ("predictions", "feedback", "samples")


class Reader(Protocol):
    """One format: its name, its shape, and a pure function from an event to records."""

    NAME: str

    def recognises(self, event: Mapping[str, Any], /) -> bool:
        """Whether the event has the format's shape."""

    def read(self, event: Mapping[str, Any], context: Context, /) -> Parsed:
        """Return what the event says; BadEvent names the field at fault."""


_FOREIGN = (
    otel, tensorzero, langfuse, phoenix, litellm, mlflow, rasa, openai,
    openai_responses, anthropic, gemini, openinference,
)  # fmt: skip
FORMATS: Mapping[str, Reader] = {
    reader.NAME: cast("Reader", reader) for reader in (native, *_FOREIGN, sft)
}
"""Every format by name, in the order in which shapes are tried."""


def detect(event: Mapping[str, Any], kind: str | None = None) -> str:
    """Return the name of the format whose shape the event has.

    An event of no known shape is taken for native where it is known what it should be, so that
    the error says which field of the native form is missing.

    Raises:
        BadEvent: of no known shape, and `kind` does not say what it should be.
    """
    for name, reader in FORMATS.items():
        if reader.recognises(event) and not (name == sft.NAME and kind not in (None, "samples")):
            return name
    if kind is not None or {"text", "prediction_id", "verdict"} & event.keys():
        return native.NAME
    raise BadEvent(AUTO, "", f"has the shape of none of {', '.join(FORMATS)}")


def parse(
    event: Mapping[str, Any],
    kind: str | None = None,
    format: str = AUTO,
    context_turns: int = 0,
    *,
    received: datetime | None = None,
    known: Mapping[str, Intent] | None = None,
) -> Parsed:
    """Return what one event says, in flywheel's records.

    A foreign event is what its shape says, whatever `kind` is; only as a sample a logged answer
    becomes a label, and the event must then name its `split`.

    Args:
        event: native or foreign.
        kind: "predictions", "feedback" or "samples"; None: by shape.
        format: a key of `FORMATS`, or "auto".
        context_turns: earlier user messages put before the last one, a line each.
        received: time of an event that has none (some feedback), UTC.
        known: intents by name that a sample may have, `none` aside; None: any.

    Raises:
        BadEvent: with the format, the field, and why.
        ValueError: `kind` or `format` is none of the known.
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"kind `{kind}` is none of {', '.join(KINDS)}")
    if format != AUTO and format not in FORMATS:
        raise ValueError(f"format `{format}` is none of {AUTO}, {', '.join(FORMATS)}")
    if not isinstance(event, Mapping):
        raise BadEvent(format, "", "is not an object")
    name = detect(event, kind) if format == AUTO else format
    context = Context(context_turns=context_turns, received=received, known=known, kind=kind)
    try:
        parsed = FORMATS[name].read(event, context)
        if kind == "samples" and parsed.predictions:
            return _as_samples(parsed, Fields(name, event), known)
    except RecursionError:
        raise BadEvent(name, "", "is nested too deeply") from None
    return parsed


def _as_samples(parsed: Parsed, fields: Fields, known: Mapping[str, Intent] | None) -> Parsed:
    samples = tuple(_as_sample(prediction, fields, known) for prediction in parsed.predictions)
    return replace(parsed, predictions=(), samples=samples)


def _as_sample(
    prediction: Prediction, fields: Fields, known: Mapping[str, Intent] | None
) -> Sample:
    if prediction.calls:
        raise BadEvent(fields.format, "calls", "are several, and a sample has one")
    sample = native.labelled(
        fields, prediction.text, prediction.intent, prediction.arguments, known
    )
    slices = {**prediction.slices, **sample.slices}
    return msgspec.structs.replace(
        sample, slices=slices, provenance={**sample.provenance, "prediction": prediction.id}
    )


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
            return _at(said, number) if said.rejected or said.samples else said
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
    """The same with the line's number on its samples, and on what was rejected inside its event."""
    return replace(
        said,
        lines=dict.fromkeys((sample.id for sample in said.samples), number),
        rejected=tuple(replace(bad, line=number) for bad in said.rejected),
    )


def _rejected(raw: bytes, number: int, error: BadEvent) -> Parsed:
    line = RejectedLine(
        line=number,
        raw=raw.decode("utf-8", "replace"),
        field=error.field,
        why=error.why,
        format=error.format,
    )
    return Parsed(rejected=(line,))
