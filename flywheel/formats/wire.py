"""Predictions and feedback as lines of the spool, and the quick way for the common ones.

A line of the spool is the native event itself with a field `kind`. An event that is already
written that way becomes its line after a look at a few fields; every other goes the long way
through `read_lines`, so that there is one rule for what is valid. Both ways end in equal lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec

from flywheel.formats import native
from flywheel.formats.dispatch import AUTO
from flywheel.formats.lines import read_numbered
from flywheel.formats.reading import Parsed, RejectedLine
from flywheel.records import NONE, Feedback, Prediction

_BOM = b"\xef\xbb\xbf"
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
_PREDICTION = msgspec.json.Decoder(PredictionLine).decode
_FEEDBACK = msgspec.json.Decoder(FeedbackLine).decode
_BROKEN = (msgspec.DecodeError, UnicodeError, RecursionError)
_write = msgspec.json.Encoder(order="deterministic").encode_lines  # as the tables have it


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A body as lines of the spool."""

    lines: list[SpoolLine]
    repeated: int  # events whose id came earlier in the same body; they are in `lines` too
    rejected: tuple[RejectedLine, ...]
    long_way: Parsed  # with the samples, which have no line

    def encoded(self) -> bytes:
        """The lines, each with its newline; b"" for none."""
        return _write(self.lines)

    @property
    def events(self) -> int:
        """How many predictions and verdicts there are, repeats included."""
        return len(self.lines) - len(self.rejected)


def write_body(kind: str, body: bytes, *, received: datetime, **options: Any) -> Written:
    """Return what a request's body says as lines of the spool.

    Args:
        kind: "predictions" or "feedback".
        body: UTF-8: a JSON object however it is laid out, a list of them, or one a line.
        received: when, UTC.
        options: as `read_lines`.
    """
    limit = options.get("max_line_bytes")
    usual = options.get("format", AUTO) in (AUTO, native.NAME)
    lines: list[SpoolLine] = []
    slow: list[tuple[int, bytes]] = []
    raws = _lines_of(body)
    for number, raw in enumerate(raws, 1):
        line = quick(kind, raw) if usual and (limit is None or len(raw) <= limit) else None
        if line is not None:
            lines.append(line)
        elif raw := raw.strip():
            slow.append((number, raw))
    parsed = read_numbered(slow, kind, received=received, **options) if slow else Parsed()
    lines += lines_of(parsed)
    ids = {(type(line), line.id) for line in lines if not isinstance(line, RejectedEntry)}
    repeated = len(lines) - len(ids)
    lines += [
        RejectedEntry(kind, bad.line, bad.raw, bad.field, bad.why, received)
        for bad in parsed.rejected
    ]
    return Written(lines=lines, repeated=repeated, rejected=parsed.rejected, long_way=parsed)


def quick(kind: str, raw: bytes) -> PredictionLine | FeedbackLine | None:
    """Return a native event's line; None for what needs the long way, valid or not."""
    try:
        if kind == "predictions":
            return _prediction(_PREDICTION(raw))
        if kind == "feedback":
            return _feedback(_FEEDBACK(raw))
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


def _prediction(line: PredictionLine) -> PredictionLine | None:
    if not (_named(line.id) and _named(line.text) and _plain(line.arguments)):
        return None
    if line.ts.tzinfo is not UTC or line.ts.year < 2:
        return None
    if not line.intent:
        line.intent = NONE
    elif line.intent.isspace():
        return None
    if line.adapter is not None and (not line.adapter or line.adapter.isspace()):
        return None
    if line.arguments is not None and not line.arguments:
        line.arguments = None
    if line.slices is not None and not line.slices:
        line.slices = None
    return line


def _feedback(line: FeedbackLine) -> FeedbackLine | None:
    if not (_named(line.id) and _named(line.prediction_id) and _plain(line.arguments)):
        return None
    if line.ts.tzinfo is not UTC or line.ts.year < 2:
        return None
    if line.rater is not None and not _named(line.rater):
        return None
    if line.intent is None:
        return None if line.verdict == "corrected" else line
    return line if _named(line.intent) else None


def _named(text: str) -> bool:
    return bool(text) and not text.isspace()


def _plain(arguments: Mapping[str, Any] | None) -> bool:
    """Whether the arguments are flat, without a number that could be none."""
    if not arguments:
        return True
    return all(type(value) in _FLAT for value in arguments.values())


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
