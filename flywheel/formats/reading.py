"""Reading one foreign object field by field, so that every complaint names format and field."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any

import msgspec

from flywheel.formats.moments import NoMoment, read_moment
from flywheel.records import Feedback, Intent, Prediction, Sample, Score

_SLICES = ("channel", "locale")  # names taken from free metadata; other keys may hold anything

_EXTENDED = ("$oid", "$uuid", "$numberLong", "$numberInt")  # MongoDB's extended JSON
_ROUNDING = 1e-6  # by which a probability of single precision may leave 0..1

Choice = tuple[str, dict[str, Any] | None]
"""An intent and its arguments; None: not judged."""


class BadEvent(ValueError):
    """An event that cannot be read: in which format, by which field, and why.

    Args:
        format: the format it was read as.
        field: path of the field; empty when the event as a whole is at fault.
        why: what is wrong, to be read after the field's name.
    """

    def __init__(self, format: str, field: str, why: str) -> None:
        super().__init__(f"{format}: `{field}` {why}" if field else f"{format}: {why}")
        self.format = format
        self.field = field
        self.why = why


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedLine:
    """A line that could not be read, whole, so that it can be tried again."""

    line: int  # counted from 1; 0 for a part of an event that was not read from lines
    raw: str
    field: str
    why: str
    format: str
    encoding: str = ""  # "base64" where `raw` is that of bytes that are no UTF-8


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """What events say in flywheel's own records."""

    predictions: tuple[Prediction, ...] = ()
    feedback: tuple[Feedback, ...] = ()
    samples: tuple[Sample, ...] = ()
    answers: Mapping[str, Choice] = field(default_factory=dict)  # by sample id, where given
    lines: Mapping[str, int] = field(default_factory=dict)  # first line of a sample, by its id
    scores: tuple[Score, ...] = ()  # of foreign tools, as seen; those that count are feedback too
    skipped: Mapping[str, int] = field(default_factory=dict)  # by reason: events not to be kept
    rejected: tuple[RejectedLine, ...] = ()

    @property
    def labelled(self) -> tuple[tuple[Sample, Choice | None], ...]:
        """Samples, each with what the production model answered to it where that was given."""
        return tuple((sample, self.answers.get(sample.id)) for sample in self.samples)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a format's reader is told beside the event."""

    context_turns: int = 0  # earlier user messages put before the last one
    received: datetime | None = None  # stands in for the time of an event that has none, UTC
    known: Mapping[str, Intent] | None = None  # by name, those a sample may have; None: any
    kind: str | None = None  # of a native event: predictions, feedback, samples; None: by shape
    scores: Mapping[str, str] = field(default_factory=dict)  # [feedback.scores]: rule by name
    zone: tzinfo = UTC  # of times that do not name theirs


def skip(why: str) -> Parsed:
    """Return what an event says that is understood and holds nothing to keep, and why it does."""
    return Parsed(skipped={why: 1})


def merged(parts: Iterable[Parsed]) -> Parsed:
    """Return all the parts as one, in their order."""
    given = list(parts)
    return Parsed(
        predictions=tuple(item for part in given for item in part.predictions),
        feedback=tuple(item for part in given for item in part.feedback),
        samples=tuple(item for part in given for item in part.samples),
        answers={key: value for part in given for key, value in part.answers.items()},
        lines={key: line for part in reversed(given) for key, line in part.lines.items()},
        scores=tuple(item for part in given for item in part.scores),
        skipped=dict(sum((Counter(part.skipped) for part in given), Counter())),
        rejected=tuple(item for part in given for item in part.rejected),
    )


class Fields:
    """The fields of one object of an event.

    Args:
        format: named in every error.
        value: the object.
        path: where it is in the event; "" for the event itself.
    """

    __slots__ = ("_path", "format", "value")

    def __init__(self, format: str, value: Mapping[str, Any], path: str = "") -> None:
        self.format = format
        self.value = value
        self._path = path

    def bad(self, name: str, why: str) -> BadEvent:
        """Return the error about a field of this object."""
        return BadEvent(self.format, self.path(name), why)

    def path(self, name: str) -> str:
        """The field's path from the event's root."""
        return f"{self._path}.{name}" if self._path else name

    def get(self, *names: str) -> Any:
        """Return the first of these fields that is there and not null; None when none is."""
        for name in names:
            value = self.value.get(name)
            if value is not None:
                return value
        return None

    def need(self, *names: str) -> Any:
        """Return as `get`; where none is there, the error names the first."""
        value = self.get(*names)
        if value is None:
            raise self.bad(names[0], "is missing")
        return value

    def text(self, *names: str) -> str:
        """Return the first of these fields, which must be a text that is not blank."""
        value = self.need(*names)
        if not isinstance(value, str):
            raise self.bad(names[0], f"is {_kind(value)}, not a text")
        if not value.strip():
            raise self.bad(names[0], "is empty")
        return unicode(value, self.format, self.path(names[0]))

    def maybe_text(self, *names: str, default: str = "") -> str:
        """Return as `text`, or `default` where none of the fields is there or it is empty."""
        return default if self.get(*names) in (None, "") else self.text(*names)

    def identity(self, *names: str) -> str:
        """Return the first of these fields as an id: a text, or a whole number as its digits.

        MongoDB's `{"$oid": …}` and the like are read. A float is one where a table has made it of
        a whole number: below 2**53 and without a fraction.
        """
        value = self.need(*names)
        if isinstance(value, Mapping) and len(value) == 1:
            key, inner = next(iter(value.items()))
            value = inner if key in _EXTENDED else value
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str):
            raise self.bad(self._there(*names), f"is {_kind(value)}, not an id")
        if not value.strip():
            raise self.bad(self._there(*names), "is empty")
        return unicode(value, self.format, self.path(self._there(*names)))

    def maybe_identity(self, *names: str, default: str = "") -> str:
        """Return as `identity`, or `default` where none of the fields is there or it is empty."""
        return default if self.get(*names) in (None, "") else self.identity(*names)

    def _there(self, *names: str) -> str:
        """The first of these fields that is there; otherwise the first."""
        return next((name for name in names if self.value.get(name) is not None), names[0])

    def number(self, *names: str) -> float | None:
        """Return the first of these fields, which must be a finite number; None without one."""
        value = self.get(*names)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.bad(names[0], f"is {_kind(value)}, not a number")
        return _finite(value, self, names[0])

    def fraction(self, *names: str) -> float | None:
        """Return as `number`; it must be in 0..1."""
        value = self.number(*names)
        if value is not None and not 0 <= value <= 1:
            raise self.bad(names[0], f"is {value:g}, not in 0..1")
        return value

    def confidence(self, *names: str) -> float | None:
        """Return a probability; None where it is not there or is none.

        A number or its text, in 0..1 or within 1e-6 of it. Anything else costs the confidence
        alone: percent and logarithms look alike, so no scale is guessed.
        """
        number = _as_number(self.get(*names))
        if number is None or not -_ROUNDING <= number <= 1 + _ROUNDING:
            return None
        return min(max(number, 0.0), 1.0)

    def duration(self, *names: str) -> float | None:
        """Return a length of time as a number, which may be text; None for one below 0."""
        number = _as_number(self.get(*names))
        return None if number is None or number < 0 else number

    def flag(self, name: str) -> bool:
        """Return a field that must be true or false; false where it is not there."""
        value = self.get(name)
        if value is None or isinstance(value, bool):
            return bool(value)
        raise self.bad(name, f"is {_kind(value)}, not true or false")

    def choice(self, name: str, allowed: Sequence[str], default: str | None = None) -> str:
        """Return a text that must be one of `allowed`; `default` where the field is not there."""
        value = self.get(name)
        if value is None and default is not None:
            return default
        found = self.text(name)
        if found not in allowed:
            raise self.bad(name, f"is `{found}`, none of {', '.join(allowed)}")
        return found

    def inner(self, name: str) -> Fields:
        """Return the fields of an object that must be there; JSON text is read."""
        value = self.need(name)
        if isinstance(value, str):
            value = from_json(value, self.format, self.path(name))
        if not isinstance(value, Mapping):
            raise self.bad(name, f"is {_kind(value)}, not an object")
        return Fields(self.format, value, self.path(name))

    def maybe_inner(self, name: str) -> Fields:
        """Return as `inner`; without the field, an object without fields."""
        if self.get(name) is None:
            return Fields(self.format, {}, self.path(name))
        return self.inner(name)

    def moment(
        self,
        *names: str,
        naive_is_utc: bool = False,
        zone: tzinfo = UTC,
        received: datetime | None = None,
    ) -> datetime:
        """Return the first of these fields as a time in UTC, however it is written.

        Args:
            names: of the fields.
            naive_is_utc: the format's times are UTC even where they do not say so.
            zone: of times that do not name theirs.
            received: a time more than a day later is refused; None: none is.
        """
        value = self.need(*names)
        try:
            return read_moment(value, UTC if naive_is_utc else zone, received)
        except NoMoment as error:
            raise self.bad(self._there(*names), str(error)) from None

    def moment_or(self, received: datetime | None, *names: str, zone: tzinfo = UTC) -> datetime:
        """Return the first of these fields as a time, or when the event was received."""
        if received is not None and self.get(*names) is None:
            return received
        return self.moment(*names, zone=zone, received=received)

    def slices(self, name: str) -> dict[str, str]:
        """Return `channel` and `locale` from an object of free metadata."""
        value = self.get(name)
        if not isinstance(value, Mapping):
            return {}
        found = {key: value.get(key) for key in _SLICES}
        return {key: text for key, text in found.items() if isinstance(text, str) and text}


def unicode(text: str, format: str, path: str) -> str:
    """Return `text`, refusing half of a surrogate pair: no store can hold it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadEvent(format, path, "is not valid Unicode") from None
    return text


def from_json(text: str, format: str, path: str) -> Any:
    """Return the value of a field that holds JSON as text."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise BadEvent(format, path, "is not JSON") from None


def plain(value: Any, format: str, path: str, depth: int = 32) -> Any:
    """Return a copy of a JSON value in dicts and lists; what JSON cannot hold is refused."""
    if depth == 0:
        raise BadEvent(format, path, "is nested too deeply")
    if isinstance(value, str):
        return unicode(value, format, path)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, Mapping):
        return {
            unicode(str(key), format, path): plain(item, format, f"{path}.{key}", depth - 1)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [plain(item, format, path, depth - 1) for item in value]
    raise BadEvent(format, path, "is not JSON")


def _as_number(value: Any) -> float | None:
    """A finite number, or the text of one; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _finite(value: float, fields: Fields, name: str) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise fields.bad(name, "is not a finite number")
    return number


def _kind(value: Any) -> str:
    """What a JSON value is, for an error message."""
    names = {bool: "true or false", int: "a number", float: "a number", str: "a text"}
    if isinstance(value, Mapping):
        return "an object"
    return "a list" if isinstance(value, (list, tuple)) else names.get(type(value), "not JSON")
