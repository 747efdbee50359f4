"""Predictions and feedback as lines of the spool: written for a body, and read again.

A line of the spool is the native event itself with a field `kind`. An event that is already
written that way becomes its line after a look at a few fields (the quick way). Every other event
goes through `read_lines` (the long way), so there is one rule for what is valid, and both ways
end in lines that say the same. DuckDB reads whole segments by itself; `rows_of` reads what it
does not take, and what is searched line by line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import attrgetter
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import NODEFAULT

from flywheel.event_columns import columns_of, spool_form
from flywheel.formats import native
from flywheel.formats.dispatch import AUTO, IDENTITIES, body_records, parsed_records
from flywheel.formats.line_tally import LineTally, SkippedLines
from flywheel.formats.moments import AHEAD, EARLIEST
from flywheel.formats.native import OTHER_ARGUMENTS
from flywheel.formats.reading import Parsed, RejectedLine, merged
from flywheel.records import NONE, Feedback, Prediction, Score

_BOM = b"\xef\xbb\xbf"
_IDENTITIES = frozenset(IDENTITIES)
_BLOCK = 1 << 16  # bytes that are read at once, in which no other thread of Python runs
USUAL = (AUTO, native.NAME)
"""Formats under which native events are looked for first."""
_flat = frozenset({str, int, bool, type(None)}).issuperset  # types that need no further look
_NAMED = Annotated[str, msgspec.Meta(pattern=r"\S")]
_LOOKED_AT = {"id", "prediction_id", "text", "intent", "arguments", "slices"}


def _checked(
    record: type[msgspec.Struct], looked_at: set[str]
) -> tuple[dict[str, tuple[Any, Any]], tuple[str, ...]]:
    """Fields that a line's decoder checks where they are there, which costs nothing where they are
    not; and names of columns that may hold anything, so that a line with one goes the long way.
    """
    texts = {
        column.name: (_NAMED | None, None)
        for column in columns_of(record)
        if column.type == "text" and not column.choices and column.name not in looked_at
    }
    lists = {"aliases": (tuple[_NAMED, ...] | None, None)}
    names = {column.name: column.type for column in columns_of(record)}
    known = {name: form for name, form in lists.items() if name in names}
    open_ones = tuple(
        name
        for name, type_ in names.items()
        if type_ in ("json", "list") and name not in {*looked_at, *known}
    )
    return texts | known, open_ones


_OF_PREDICTIONS, _OPEN_OF_PREDICTIONS = _checked(Prediction, _LOOKED_AT | {"adapter"})
_OF_FEEDBACK, _OPEN_OF_FEEDBACK = _checked(Feedback, _LOOKED_AT | {"rater"})
# Of one column its value; of several they would be a tuple, and every line would go the long way.
_open_of_prediction = attrgetter(*_OPEN_OF_PREDICTIONS)
_open_of_feedback = attrgetter(*_OPEN_OF_FEEDBACK)
PredictionLine = spool_form(
    Prediction,
    "PredictionLine",
    doc="A prediction as a line of the spool.",
    tag="predictions",
    changed={
        "intent": (str | None,),  # it must be there; null says that no call was made
        # A conversation, and arguments under another name, go the long way.
        **dict.fromkeys(("messages", *OTHER_ARGUMENTS), (None, None)),
        **_OF_PREDICTIONS,
    },
)
FeedbackLine = spool_form(
    Feedback,
    "FeedbackLine",
    doc="Feedback as a line of the spool.",
    tag="feedback",
    changed=_OF_FEEDBACK,
)
ScoreLine = spool_form(
    Score,
    "ScoreLine",
    doc="A score as a line of the spool.",
    tag="scores",
    rename={"kind": "score_kind"},  # `kind` says what the line is
)
_RECORD: Mapping[Any, type[Prediction | Feedback | Score]] = {
    PredictionLine: Prediction,
    FeedbackLine: Feedback,
    ScoreLine: Score,
}
_EMPTY = {
    form: {
        column.name: NODEFAULT if column.required else column.default
        for column in columns_of(record)
    }
    for form, record in _RECORD.items()
}


class RejectedEntry(msgspec.Struct, tag_field="kind", tag="rejected", omit_defaults=True, gc=False):
    """A line that could not be read, whole, with its reason."""

    sent_as: str
    line: int
    raw: str
    field: str
    why: str
    at: Annotated[datetime, msgspec.Meta(tz=True)]
    format: str = ""
    encoding: str = ""  # "base64" where `raw` is that of bytes that are no UTF-8


SpoolLine: TypeAlias = Any  # a PredictionLine, FeedbackLine, ScoreLine or RejectedEntry
_ANY_LINE = msgspec.json.Decoder(PredictionLine | FeedbackLine | ScoreLine | RejectedEntry)
_PREDICTION = msgspec.json.Decoder(PredictionLine)
_FEEDBACK = msgspec.json.Decoder(FeedbackLine)
_BROKEN = (msgspec.DecodeError, UnicodeError, RecursionError)
_write = msgspec.json.Encoder(order="deterministic").encode_lines  # as the tables have it


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A body as lines of the spool, and what became of each of its own lines."""

    lines: bytes  # each with its newline; b"" for none
    accepted: int  # lines with something to keep
    repeated: int = 0  # lines whose events came earlier in the same body; they are written too
    rejected: tuple[RejectedLine, ...] = ()
    skipped: tuple[SkippedLines, ...] = ()
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
    if usual and (written := write_usual(kind, body, received=received, max_line_bytes=limit)):
        return written
    lines: list[SpoolLine] = []
    parts: list[Parsed] = []
    tally = LineTally()
    for record in body_records(body):
        raw = b"" if record.why or record.skipped else record.raw
        fits = usual and (limit is None or len(raw) <= limit)
        line = quick(kind, raw, received) if fits else None
        if line is not None:
            lines.append(line)
            tally.kept([(kind, line.id)])
            continue
        for number, parsed in parsed_records([record], kind, received=received, **options):
            tally.read(number, parsed)
            parts.append(parsed)
            lines += lines_of(parsed)
    lines += [
        RejectedEntry(
            kind, bad.line, bad.raw, bad.field, bad.why, received, bad.format, bad.encoding
        )
        for bad in tally.rejected
    ]
    return Written(
        lines=_write(lines),
        accepted=tally.accepted,
        repeated=tally.repeated,
        rejected=tuple(tally.rejected),
        skipped=tally.skipped,
        long_way=merged(parts),
    )


def write_usual(
    kind: str, body: bytes, *, received: datetime, max_line_bytes: int | None = None
) -> Written | None:
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
            if not _in_time([line.ts for line in lines], received):
                return None
            written.append(_write(lines))
            ids.update([line.id for line in lines])
            events += len(lines)
    except _BROKEN:
        return None
    return Written(lines=b"".join(written), accepted=len(ids), repeated=events - len(ids))


def quick(kind: str, raw: bytes, received: datetime) -> SpoolLine | None:
    """Return a native event's line; None for what needs the long way, valid or not."""
    try:
        if kind == "predictions":
            line = _PREDICTION.decode(raw)
            usual = _prediction(line)
        elif kind == "feedback":
            line = _FEEDBACK.decode(raw)
            usual = _feedback(line)
        else:
            return None
    except _BROKEN:
        return None
    return line if usual and _in_time([line.ts], received) else None


def _in_time(moments: Sequence[datetime], received: datetime) -> bool:
    """Whether every time is one that an event may have: none of a clock that is wrong."""
    return not moments or (min(moments) >= EARLIEST and max(moments) <= received + AHEAD)


def lines_of(parsed: Parsed) -> list[SpoolLine]:
    """Return the lines of what was read the long way."""
    return [
        *(_line(record, PredictionLine) for record in parsed.predictions),
        *(_line(record, FeedbackLine) for record in parsed.feedback),
        *(_line(record, ScoreLine) for record in parsed.scores),
    ]


def record_of(line: SpoolLine) -> Prediction | Feedback | Score:
    """Return the record that a line of the spool holds; what is not there has its default."""
    record = _RECORD[type(line)]
    values = {name: getattr(line, name) for name in record.__struct_fields__}
    return record(**{name: value for name, value in values.items() if value is not None})


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


def _prediction(line: SpoolLine) -> bool:
    """Whether nothing about it is unusual. Most lines end here, so each field is looked at in
    place: a loop over the columns takes twice as long."""
    if not line.id or line.id.isspace() or not line.text or line.text.isspace():
        return False
    if line.ts.tzinfo is not UTC or line.ts.year < 2:
        return False
    if line.intent is None:
        if line.arguments:
            return False
        line.intent = NONE
    elif not line.intent or line.intent.isspace():
        return False
    if line.adapter is not None and (not line.adapter or line.adapter.isspace()):
        return False
    if line.arguments and not _flat(map(type, line.arguments.values())):
        return False
    if line.slices and not _IDENTITIES.isdisjoint(line.slices):
        return False
    return _open_of_prediction(line) is None


def _feedback(line: SpoolLine) -> bool:
    """Whether nothing about it is unusual."""
    if not (_named(line.id) and _named(line.prediction_id)):
        return False
    if line.arguments and not _flat(map(type, line.arguments.values())):
        return False
    if line.ts.tzinfo is not UTC or line.ts.year < 2:
        return False
    if line.rater is not None and not _named(line.rater):
        return False
    if line.intent is None:
        if line.verdict == "corrected":
            return False
    elif not _named(line.intent):
        return False
    return _open_of_feedback(line) is None


def _named(text: str) -> bool:
    return bool(text) and not text.isspace()


_USUAL: Mapping[str, tuple[Callable[[bytes], list[Any]], Callable[[Any], bool]]] = {
    "predictions": (_PREDICTION.decode_lines, _prediction),
    "feedback": (_FEEDBACK.decode_lines, _feedback),
}


def _line(record: Prediction | Feedback | Score, form: Any) -> SpoolLine:
    """The line of a record; what is empty by default is not written."""
    values = {
        name: getattr(record, name)
        for name, empty in _EMPTY[form].items()
        if empty is NODEFAULT or getattr(record, name) != empty
    }
    return form(**{**values, "ts": record.ts.astimezone(UTC)})


def rows_of(segment: bytes) -> tuple[list[SpoolLine], list[bytes]]:
    """Return a segment's lines, read, and its whole lines that are unreadable.

    What follows the last newline was never acknowledged: a crash tore it.
    """
    whole = segment[: segment.rfind(b"\n") + 1]
    try:
        return _ANY_LINE.decode_lines(whole), []
    except _BROKEN:
        return _readable(whole.split(b"\n"))


def _readable(lines: Iterable[bytes]) -> tuple[list[SpoolLine], list[bytes]]:
    rows: list[SpoolLine] = []
    damaged: list[bytes] = []
    for line in lines:
        if line:
            try:
                rows.append(_ANY_LINE.decode(line))
            except _BROKEN:
                damaged.append(line)
    return rows, damaged
