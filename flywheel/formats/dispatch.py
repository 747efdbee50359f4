"""Events in any known format, one or many: which format it is, and what they say.

Many are read from JSON or newline-delimited JSON; a bad line is rejected with its number and
reason, and the others are read all the same.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from typing import Any, Protocol, cast

import msgspec

from flywheel.content import content_id, kept_text
from flywheel.errors import TooManyRecords
from flywheel.file_records import layouts
from flywheel.file_records.json_faults import NotJson, decoded_with_wide_numbers, is_utf8
from flywheel.file_records.layouts import FileRecord
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
from flywheel.formats.reading import (
    BadEvent,
    Context,
    Fields,
    Parsed,
    RejectedLine,
    merged,
    skip,
)
from flywheel.records import Feedback, Intent, Prediction, Sample

AUTO = "auto"
MALFORMED = "malformed"
"""The rater of verdicts on calls whose arguments could not be read."""
IDENTITIES: Mapping[str, str] = {"session": "session", "session_id": "session", "user_id": "rater"}
"""Names of slices that say who it was: by name, the field that they go to."""
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
    scores: Mapping[str, str] | None = None,
    zone: tzinfo = UTC,
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
        scores: `[feedback.scores]`, which foreign scores count.
        zone: of times that do not name theirs.

    Raises:
        BadEvent: with the format, the field, and why.
        ValueError: `kind` or `format` is none of the known.
    """
    _refuse_unknown(kind, format)
    if not isinstance(event, Mapping):
        raise BadEvent(format, "", "is not an object")
    name = detect(event, kind) if format == AUTO else format
    context = Context(
        context_turns=context_turns,
        received=received,
        known=known,
        kind=kind,
        scores=scores or {},
        zone=zone,
    )
    try:
        parsed = FORMATS[name].read(event, context)
        if kind == "samples" and parsed.predictions:
            return _as_samples(parsed, Fields(name, event), known)
    except RecursionError:
        raise BadEvent(name, "", "is nested too deeply") from None
    return _completed(parsed)


def _refuse_unknown(kind: str | None, format: str) -> None:
    if kind is not None and kind not in KINDS:
        raise ValueError(f"kind `{kind}` is none of {', '.join(KINDS)}")
    if format != AUTO and format not in FORMATS:
        raise ValueError(f"format `{format}` is none of {AUTO}, {', '.join(FORMATS)}")


def _completed(parsed: Parsed) -> Parsed:
    """The same with what every format's predictions have in common: identities, and verdicts on
    calls that could not be read."""
    if any(one.slices.keys() & IDENTITIES.keys() for one in parsed.predictions):
        parsed = replace(parsed, predictions=tuple(map(_identified, parsed.predictions)))
    failed = [one for one in parsed.predictions if one.malformed]
    return replace(parsed, feedback=(*parsed.feedback, *map(_broken, failed))) if failed else parsed


def _identified(prediction: Prediction) -> Prediction:
    """Who asked, and in which conversation, is no slice: sums would keep it for ever."""
    slices = dict(prediction.slices)
    given = {name: slices.pop(name) for name in IDENTITIES if name in slices}
    fields = {IDENTITIES[name]: value for name, value in reversed(given.items())}
    fields |= {name: old for name in fields if (old := getattr(prediction, name))}
    return msgspec.structs.replace(prediction, slices=slices, **fields)


def _broken(prediction: Prediction) -> Feedback:
    """A call whose arguments could not be read is wrong, whatever was meant: a rule says so."""
    return Feedback(
        id=content_id("f", ["malformed", prediction.id]),
        prediction_id=prediction.id,
        ts=prediction.ts,
        verdict="incorrect",
        rater=MALFORMED,
        rater_kind="rule",
    )


def _as_samples(parsed: Parsed, fields: Fields, known: Mapping[str, Intent] | None) -> Parsed:
    samples = tuple(_as_sample(prediction, fields, known) for prediction in parsed.predictions)
    return replace(parsed, predictions=(), samples=samples)


def _as_sample(
    prediction: Prediction, fields: Fields, known: Mapping[str, Intent] | None
) -> Sample:
    if prediction.calls:
        raise BadEvent(fields.format, "calls", "are several, and a sample has one")
    if prediction.malformed:
        raise BadEvent(fields.format, "arguments", "cannot be read")
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
    **options: Any,
) -> Parsed:
    """Return what the lines say together; each bad one is in `rejected`, whole, with its number.

    Args:
        kind: "predictions", "feedback" or "samples"; None: by each event's shape.
        lines: one JSON object each, with or without line ends; blank ones are passed over.
        known: intents by name that a sample may have; None: any.
        options: `format`, `context_turns`, `received`, `scores`, `zone` as `parse`;
            `max_line_bytes`: a longer line is rejected, and its first 1,000 bytes are kept.

    Raises:
        ValueError: `kind` or `format` is none of the known.
    """
    return merged(said for _, said in parsed_lines(numbered(lines), kind, known, **options))


def parsed_lines(
    lines: Iterable[tuple[int, bytes]],
    kind: str | None,
    known: Mapping[str, Intent] | None = None,
    *,
    max_line_bytes: int | None = None,
    **options: Any,
) -> Iterator[tuple[int, Parsed]]:
    """Yield what each line says with its number; an envelope of several records says several.

    Args:
        lines: numbered, stripped, not blank.
        kind, known, max_line_bytes, options: as `read_lines`.
    """
    form = options.get("format", AUTO)
    for number, raw in lines:
        if max_line_bytes is not None and len(raw) > max_line_bytes:
            why = f"is {len(raw)} bytes long, above {max_line_bytes}"
            beginning = raw[:_SHOWN].decode("utf-8", "ignore").encode()
            yield number, _rejected(beginning, number, BadEvent(form, "", why))
            continue
        try:
            event = decoded_with_wide_numbers(raw)
        except NotJson as error:
            yield number, _rejected(raw, number, BadEvent(form, "", _with_next_step(raw, error)))
            continue
        for record, line in _records_of(event, raw):
            try:
                said = parse(record, kind, known=known, **options)
                yield number, _at(said, number) if said.rejected or said.samples else said
            except BadEvent as error:
                yield number, _rejected(line, number, error)


def _records_of(event: Any, raw: bytes) -> Iterator[tuple[Any, bytes]]:
    """The records of an OTLP envelope, each with its JSON; any other event as it is."""
    if not isinstance(event, Mapping) or not otel.is_envelope(event):
        yield event, raw
        return
    try:
        records = otel.unfolded(event)
    except BadEvent:
        yield event, raw  # whose reading names what is wrong
        return
    for record in records:
        yield record, msgspec.json.encode(record)


def _with_next_step(raw: bytes, error: NotJson) -> str:
    """What is wrong with a line that is no JSON, with the next step where one is known."""
    if is_utf8(raw):
        return str(error)
    return f"{error}, as in `flywheel rejected retry --encoding cp1252`"


def parsed_records(
    records: Iterable[FileRecord],
    kind: str | None,
    known: Mapping[str, Intent] | None = None,
    **options: Any,
) -> Iterator[tuple[int, Parsed]]:
    """Yield as `parsed_lines` what the records of a body say, with their lines or places."""
    form = options.get("format", AUTO)
    for record in records:
        if record.skipped:
            yield record.line, skip(record.skipped)
        elif record.why:
            yield record.line, _rejected(record.raw, record.line, BadEvent(form, "", record.why))
        elif record.raw.strip():
            number = record.position or record.line
            yield from parsed_lines([(number, record.raw.strip())], kind, known, **options)


def read_body(kind: str | None, body: bytes, **options: Any) -> Parsed:
    """Return what a request's body says, however its records are laid out.

    Args:
        kind: as `read_lines`.
        body: UTF-8.
        options: as `read_lines`.

    Raises:
        ValueError: as `read_lines`.
    """
    return merged(said for _, said in parsed_records(body_records(body), kind, **options))


MOST_RECORDS = 200_000
"""Of one batch, so that the answer stays readable, however the records are laid out."""


def body_records(body: bytes) -> Iterator[FileRecord]:
    """The records of a body: one a line, a list, an object, or wrapped as a tool exports them.

    Raises:
        TooManyRecords: there are more than `MOST_RECORDS`.
    """
    for number, record in enumerate(layouts.records(io.BytesIO(body)), 1):
        if number > MOST_RECORDS:
            raise TooManyRecords(
                f"the batch has more than {MOST_RECORDS:,} records",
                hint="send it in smaller batches",
            )
        yield record


def numbered(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank with their numbers, from 1; a BOM is passed over."""
    for number, raw in enumerate(lines, 1):
        if stripped := raw.removeprefix(_BOM).strip():  # files joined by `cat` have one in each
            yield number, stripped


def _at(said: Parsed, number: int) -> Parsed:
    """The same with the line's number on its samples, and on what was rejected inside its event."""
    return replace(
        said,
        lines=dict.fromkeys((sample.id for sample in said.samples), number),
        rejected=tuple(replace(bad, line=number) for bad in said.rejected),
    )


def _rejected(raw: bytes, number: int, error: BadEvent) -> Parsed:
    text, encoding = kept_text(raw)
    line = RejectedLine(
        line=number,
        raw=text,
        encoding=encoding,
        field=error.field,
        why=error.why,
        format=error.format,
    )
    return Parsed(rejected=(line,))
