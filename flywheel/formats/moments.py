"""Times as other programs write them, as a moment in UTC.

ISO 8601 and its neighbours, RFC 2822, days with the month's name, seconds to nanoseconds since
1970 as a number or its text, and the time objects of MongoDB, protobuf and Firestore. A time that
names no zone is one of the zone that is given. An order of day and month that nobody said is
refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from email.utils import parsedate_to_datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
AHEAD = timedelta(days=1)  # by which clocks may disagree
_WIDEST = timedelta(hours=14)  # of the offsets that are in use
_UNITS = ((1e11, 1_000_000), (1e14, 1_000), (1e17, 1))  # below the limit: microseconds a unit
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")
_COMPACT = re.compile(r"((?:19|20)\d\d)(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d))?")
_ISO = re.compile(
    r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})"
    r"(?:[Tt\s]\s*(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d+))?)?)?\s*(.*)"
)
_OFFSET = re.compile(r"([+-])(\d{1,2}):?(\d{2})?(?::?\d{2})?")
_IN_BRACKETS = re.compile(r"(.*?)\[([\w/+-]+)\]")
_DAY_OR_MONTH = re.compile(r"\d{1,2}[/.-]\d{1,2}[/.-]\d{2,4}\b.*")
_WITH_NAMES = (
    "%b %d, %Y %I:%M %p",
    "%b %d, %Y %I:%M:%S %p",
    "%b %d, %Y, %I:%M:%S %p",
    "%b %d, %Y %H:%M:%S",
    "%b %d, %Y %H:%M",
    "%b %d, %Y",
    "%B %d, %Y %I:%M %p",
    "%B %d, %Y",
    "%d %b %Y %H:%M",
    "%d %b %Y",
    "%d %B %Y",
    "%a %b %d %H:%M:%S %Y",
    "%d/%b/%Y:%H:%M:%S %z",
)


class NoMoment(ValueError):
    """What a value is that is no usable time, to be read after the field's name."""


def read_moment(value: Any, zone: tzinfo = UTC, received: datetime | None = None) -> datetime:
    """Return a time in UTC.

    Args:
        value: a text, a number, an object of a known kind, or a datetime.
        zone: of a time that names none.
        received: when it came, UTC; a time more than a day later is refused. None: none is.

    Raises:
        NoMoment: it is no time, lies before 1970, or in the future.
    """
    try:
        moment = _moment(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone)
        if abs(moment.utcoffset() or timedelta()) > _WIDEST:
            raise NoMoment("has an offset that no zone has")
        moment = moment.astimezone(UTC)
    except NoMoment:
        raise
    except (ValueError, OverflowError, TypeError, KeyError, RecursionError):
        raise NoMoment("is not a time") from None
    if moment < EARLIEST:
        raise NoMoment("is before 1970")
    if received is not None and moment > received + AHEAD:
        raise NoMoment(f"is in the future: {moment:%Y-%m-%d}")
    return moment


def _moment(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, bool):
        raise TypeError("true is no time")
    if isinstance(value, (int, float)):
        return _of_number(value)
    if isinstance(value, Mapping):
        return _of_object(value)
    if isinstance(value, str):
        return _of_text(value.strip())
    raise TypeError("no time")


def _of_number(number: float) -> datetime:
    """Seconds, milli-, micro- or nanoseconds since 1970, by their size; or digits of a date."""
    compact = _COMPACT.fullmatch(str(number))
    if compact is not None:
        return _of_parts(*compact.groups())
    for limit, microseconds in _UNITS:
        if abs(number) < limit:
            return EARLIEST + timedelta(microseconds=number * microseconds)
    return EARLIEST + timedelta(microseconds=int(number) // 1_000)


def _of_object(value: Mapping[str, Any]) -> datetime:
    if "$date" in value:
        inner = value["$date"]
        if isinstance(inner, Mapping):
            inner = inner.get("$numberLong")
            inner = int(inner) if isinstance(inner, str) else inner
        if isinstance(inner, (int, float)) and not isinstance(inner, bool):
            return EARLIEST + timedelta(milliseconds=inner)
        return _moment(inner)
    for seconds, nanos in (("seconds", "nanos"), ("_seconds", "_nanoseconds"),
                           ("seconds", "nanoseconds")):  # fmt: skip
        if seconds in value:
            rest = value.get(nanos) or 0
            return EARLIEST + timedelta(
                seconds=int(value[seconds]), microseconds=int(rest) // 1_000
            )
    raise TypeError("no object of time")


def _of_text(text: str) -> datetime:
    try:
        return msgspec.convert(text, datetime)  # RFC 3339, nanoseconds rounded
    except msgspec.ValidationError:
        pass
    if _NUMBER.fullmatch(text):
        return _of_number(int(text) if text.lstrip("+-").isdecimal() else float(text))
    bracketed = _IN_BRACKETS.fullmatch(text)
    if bracketed:
        moment = _of_text(bracketed.group(1).strip())
        return (
            moment.replace(tzinfo=ZoneInfo(bracketed.group(2))) if moment.tzinfo is None else moment
        )
    iso = _ISO.fullmatch(text)
    if iso is not None:
        return _of_parts(*iso.groups())
    if _DAY_OR_MONTH.fullmatch(text):
        raise NoMoment("may be of two days: write the year first, as 2026-11-20T09:00:00Z")
    return _in_words(text)


def _of_parts(
    year: str, month: str, day: str, hour: str | None, minute: str | None, second: str | None,
    fraction: str | None = None, rest: str = "",
) -> datetime:  # fmt: skip
    """A time in parts; hour 24 is the next midnight, second 60 the next minute."""
    hours, minutes, seconds = (int(part or 0) for part in (hour, minute, second))
    if minutes > 59 or seconds > 60 or (hours, minutes, seconds) > (24, 0, 0):
        raise ValueError("no time of a day")
    microseconds = int((fraction or "").ljust(6, "0")[:6])
    since = timedelta(hours=hours, minutes=minutes, seconds=seconds, microseconds=microseconds)
    return datetime(int(year), int(month), int(day), tzinfo=_zone(rest)) + since


def _zone(rest: str) -> tzinfo | None:
    if not rest:
        return None
    if rest.upper() in ("Z", "UTC", "GMT", "UTC+0", "+UTC"):
        return UTC
    offset = _OFFSET.fullmatch(rest.removeprefix("UTC").removeprefix("GMT").strip())
    if offset is None:
        raise ValueError("no zone")
    sign, hours, minutes = offset.groups()
    if int(minutes or 0) > 59:
        raise ValueError("no offset")
    ahead = timedelta(hours=int(hours), minutes=int(minutes or 0))
    if ahead > _WIDEST:
        raise NoMoment("has an offset that no zone has")
    return timezone(-ahead if sign == "-" else ahead)


def _in_words(text: str) -> datetime:
    """A date with the name of its month, a week's day, or basic ISO."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        pass
    for form in _WITH_NAMES:
        try:
            return datetime.strptime(text, form)
        except ValueError:
            continue
    moment = parsedate_to_datetime(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
