"""Lines of the spool, read one by one: those DuckDB does not take, and those that are searched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec

from flywheel.formats import native
from flywheel.formats.dispatch import AUTO, read_numbered
from flywheel.formats.reading import Parsed, RejectedLine
from flywheel.records import NONE, Feedback, Prediction

# Predictions and feedback as lines of the spool, and the quick way for the common ones.
#
# A line of the spool is the native event itself with a field `kind`. An event that is already
# written that way becomes its line after a look at a few fields; every other goes the long way
# through `read_lines`, so that there is one rule for what is valid. Both ways end in equal lines.

_BOM = b"\xef\xbb\xbf"
_BLOCK = 1 << 16  # bytes that are read at once, in which no other thread of Python runs
USUAL = (AUTO, native.NAME)
"""Formats under which native events are looked for first."""
_FLAT = frozenset({str, int, bool, type(None)})  # types of values that need no further look
_Zoned = Annotated[datetime, msgspec.Meta(tz=True)]
_Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]


class PredictionLine(
    msgspec.Struct, tag_field="kind", tag="predictions", omit_defaults=True, gc=False
):
    """A prediction; what is None here is not written."""

    id: str
    ts: _Zoned
    text: str
    intent: str | None = None
    arguments: dict[str, Any] | None = None
    confidence: _Fraction | None = None
    adapter: str | None = None
    latency_ms: float | None = None
    slices: dict[str, str] | None = None
    messages: None = None  # a conversation goes the long way


class FeedbackLine(msgspec.Struct, tag_field="kind", tag="feedback", omit_defaults=True, gc=False):
    """A verdict on a prediction."""

    id: str
    prediction_id: str
    ts: _Zoned
    verdict: Literal["correct", "incorrect", "corrected"]
    intent: str | None = None
    arguments: dict[str, Any] | None = None
    rater: str | None = None
    rater_kind: Literal["user", "expert", "rule", "model"] = "user"


class RejectedEntry(msgspec.Struct, tag_field="kind", tag="rejected", omit_defaults=True, gc=False):
    """A line that could not be read, whole, with its reason."""

    sent_as: str
    line: int
    raw: str
    field: str
    why: str
    at: _Zoned


SpoolLine = PredictionLine | FeedbackLine | RejectedEntry
_PREDICTION = msgspec.json.Decoder(PredictionLine)
_FEEDBACK = msgspec.json.Decoder(FeedbackLine)
_BROKEN = (msgspec.DecodeError, UnicodeError, RecursionError)
_write = msgspec.json.Encoder(order="deterministic").encode_lines  # as the tables have it


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A body as lines of the spool."""

    lines: bytes  # each with its newline; b"" for none
    events: int  # predictions and verdicts, repeats included
    repeated: int = 0  # events whose id came earlier in the same body; they are in `lines` too
    rejected: tuple[RejectedLine, ...] = ()
    long_way: Parsed = field(default_factory=Parsed)  # with the samples, which have no line


def write_body(kind: str, body: bytes, *, received: datetime, **options: Any) -> Written:
    """Return what a request's body says as lines of the spool.

    Args:
        kind: "predictions" or "feedback".
        body: UTF-8: a JSON object however it is laid out, a list of them, or one a line.
        received: when, UTC.
        options: as `read_lines`.
    """
    limit = options.get("max_line_bytes")
    usual = options.get("format", AUTO) in USUAL
    if usual and (written := write_usual(kind, body, max_line_bytes=limit)):
        return written
    lines: list[SpoolLine] = []
    slow: list[tuple[int, bytes]] = []
    for number, raw in enumerate(_lines_of(body), 1):
        line = quick(kind, raw) if usual and (limit is None or len(raw) <= limit) else None
        if line is not None:
            lines.append(line)
        elif raw := raw.strip():
            slow.append((number, raw))
    parsed = read_numbered(slow, kind, received=received, **options) if slow else Parsed()
    lines += lines_of(parsed)
    events = len(lines)
    ids = {(type(line), line.id) for line in lines if not isinstance(line, RejectedEntry)}
    lines += [
        RejectedEntry(kind, bad.line, bad.raw, bad.field, bad.why, received)
        for bad in parsed.rejected
    ]
    return Written(
        lines=_write(lines),
        events=events,
        repeated=events - len(ids),
        rejected=parsed.rejected,
        long_way=parsed,
    )


def write_usual(kind: str, body: bytes, *, max_line_bytes: int | None = None) -> Written | None:
    """Return what native events say, one a line; None where any of them needs another look.

    It looks at many lines at once, which is all that makes it quicker than one after another.
    """
    if kind not in _USUAL:
        return None
    read, checked = _USUAL[kind]
    written: list[bytes] = []
    ids: set[str] = set()
    events = 0
    try:
        for block in _blocks(body.removeprefix(_BOM)):
            lines = read(block)
            if not (_one_a_line(block, len(lines), max_line_bytes) and all(map(checked, lines))):
                return None
            written.append(_write(lines))
            ids.update([line.id for line in lines])
            events += len(lines)
    except _BROKEN:
        return None
    return Written(lines=b"".join(written), events=events, repeated=events - len(ids))


def quick(kind: str, raw: bytes) -> PredictionLine | FeedbackLine | None:
    """Return a native event's line; None for what needs the long way, valid or not."""
    try:
        if kind == "predictions":
            prediction = _PREDICTION.decode(raw)
            return prediction if _prediction(prediction) else None
        if kind == "feedback":
            verdict = _FEEDBACK.decode(raw)
            return verdict if _feedback(verdict) else None
    except _BROKEN:
        pass
    return None


def lines_of(parsed: Parsed) -> list[SpoolLine]:
    """Return the lines of what was read the long way."""
    return [*map(_of_prediction, parsed.predictions), *map(_of_feedback, parsed.feedback)]


def _lines_of(body: bytes) -> list[bytes]:
    """One item an event: a body that is one object, or a list of them, has no lines of its own."""
    body = body.removeprefix(_BOM)
    lines = body.split(b"\n")
    if len(lines) == 1 and body.lstrip().startswith(b"{"):
        return lines
    if quick("predictions", lines[0]) or quick("feedback", lines[0]):
        return lines
    try:
        whole = msgspec.json.decode(body)
    except _BROKEN:
        return lines
    if isinstance(whole, list):
        return [msgspec.json.encode(one) for one in whole]
    return [body]


def _blocks(body: bytes) -> Iterator[bytes]:
    """A body in parts of whole lines."""
    at = 0
    while at < len(body):
        end = body.find(b"\n", at + _BLOCK) + 1 or len(body)
        yield body[at:end]
        at = end


def _one_a_line(block: bytes, objects: int, limit: int | None) -> bool:
    """Whether so many JSON objects in a row stand on a line each, none of them too long.

    A newline between `}` and `{` is one between two objects: inside of one there is a comma.
    """
    breaks = block.count(b"\n") - block.endswith(b"\n")
    if not breaks == block.count(b"}\n{") == objects - 1:
        return False
    return limit is None or len(block) <= limit or max(map(len, block.split(b"\n"))) <= limit


def _prediction(line: PredictionLine) -> bool:
    """Whether nothing about it is unusual; what is empty becomes what is not there."""
    if not line.id or line.id.isspace() or not line.text or line.text.isspace():
        return False
    if line.ts.tzinfo is not UTC or line.ts.year < 2:
        return False
    if not line.intent:
        line.intent = NONE
    elif line.intent.isspace():
        return False
    if line.adapter is not None and (not line.adapter or line.adapter.isspace()):
        return False
    if line.arguments:
        if not _plain(line.arguments):
            return False
    elif line.arguments is not None:
        line.arguments = None
    if line.slices is not None and not line.slices:
        line.slices = None
    return True


def _feedback(line: FeedbackLine) -> bool:
    """Whether nothing about it is unusual."""
    if not (_named(line.id) and _named(line.prediction_id)):
        return False
    if line.arguments and not _plain(line.arguments):
        return False
    if line.ts.tzinfo is not UTC or line.ts.year < 2:
        return False
    if line.rater is not None and not _named(line.rater):
        return False
    if line.intent is None:
        return line.verdict != "corrected"
    return _named(line.intent)


def _named(text: str) -> bool:
    return bool(text) and not text.isspace()


_USUAL: Mapping[str, tuple[Callable[[bytes], list[Any]], Callable[[Any], bool]]] = {
    "predictions": (_PREDICTION.decode_lines, _prediction),
    "feedback": (_FEEDBACK.decode_lines, _feedback),
}


def _plain(arguments: Mapping[str, Any]) -> bool:
    """Whether the arguments are flat, without a number that could be none."""
    return _FLAT.issuperset(map(type, arguments.values()))


def _of_prediction(record: Prediction) -> PredictionLine:
    return PredictionLine(
        record.id,
        record.ts.astimezone(UTC),
        record.text,
        record.intent,
        dict(record.arguments) or None,
        record.confidence,
        record.adapter or None,
        record.latency_ms,
        dict(record.slices) or None,
    )


def _of_feedback(record: Feedback) -> FeedbackLine:
    return FeedbackLine(
        record.id,
        record.prediction_id,
        record.ts.astimezone(UTC),
        record.verdict,
        record.intent,
        None if record.arguments is None else dict(record.arguments),
        record.rater or None,
        record.rater_kind,
    )


class PredictionRow(msgspec.Struct, tag_field="kind", tag="predictions", gc=False):
    """A prediction as the loader reads it: JSON is not unpacked."""

    id: str
    ts: datetime
    text: str
    intent: str
    arguments: msgspec.Raw = msgspec.Raw(b"{}")
    confidence: float | None = None
    adapter: str = ""
    latency_ms: float | None = None
    slices: msgspec.Raw = msgspec.Raw(b"{}")


class FeedbackRow(msgspec.Struct, tag_field="kind", tag="feedback", gc=False):
    """Feedback as the loader reads it."""

    id: str
    prediction_id: str
    ts: datetime
    verdict: str
    intent: str | None = None
    arguments: msgspec.Raw = msgspec.Raw(b"null")
    rater: str = ""
    rater_kind: str = "user"


SpoolRow = PredictionRow | FeedbackRow | RejectedEntry
_ROWS = msgspec.json.Decoder(SpoolRow)


def rows_of(segment: bytes) -> tuple[list[SpoolRow], list[bytes]]:
    """Return a segment's rows, and its whole lines that are unreadable.

    What follows the last newline was never acknowledged: a crash tore it.
    """
    whole = segment[: segment.rfind(b"\n") + 1]
    try:
        return _ROWS.decode_lines(whole), []
    except _BROKEN:
        return _readable(whole.split(b"\n"))


def _readable(lines: Iterable[bytes]) -> tuple[list[SpoolRow], list[bytes]]:
    rows: list[SpoolRow] = []
    damaged: list[bytes] = []
    for line in lines:
        if line:
            try:
                rows.append(_ROWS.decode(line))
            except _BROKEN:
                damaged.append(line)
    return rows, damaged
