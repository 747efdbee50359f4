"""Times as other programs write them."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.formats import read_lines
from flywheel.formats.moments import NoMoment, read_moment

RECEIVED = datetime(2026, 11, 30, tzinfo=UTC)
CASES = (Path(__file__).parent / "cases" / "times.jsonl").read_bytes().splitlines()
NINE = datetime(2026, 11, 20, 9, tzinfo=UTC)


def test_every_case_is_read_or_refused_with_its_cause():
    parsed = read_lines(None, CASES, received=RECEIVED)
    assert {bad.line: bad.why for bad in parsed.rejected} == {
        21: "is in the future: 9999-12-31",
        22: "is before 1970",
        25: "is before 1970",
        26: "may be of two days: write the year first, as 2026-11-20T09:00:00Z",
        31: "is not a time",
        32: "is missing",
        33: "is not a time",
        34: "is not a time",
        38: "is not a time",
        42: "is in the future: 2027-11-20",
        43: "is not a time",
    }
    assert len(parsed.predictions) == len(CASES) - len(parsed.rejected)


@pytest.mark.parametrize(
    "value",
    [
        "2026-11-20 09:00:00 UTC",
        "2026-11-20 09:00:00 GMT",
        "2026-11-20T09:00:00Z[UTC]",
        "2026-11-20T10:00:00+01:00[Europe/Berlin]",
        "2026-11-20T10:00:00[Europe/Berlin]",
        "2026/11/20 9:00",
        "2026.11.20 09:00:00,000",
        "2026-11-20T09:00:00+0000",
        "2026-11-20T04:00:00-05",
        "20261120T090000Z",
        "20261120090000",
        20261120090000,
        "Fri, 20 Nov 2026 09:00:00 GMT",
        "Fri, 20 Nov 2026 09:00:00 -0000",
        "Nov 20, 2026 9:00 AM",
        "20 Nov 2026 09:00",
        "20/Nov/2026:10:00:00 +0100",
        "Fri Nov 20 09:00:00 2026",
        1795165200,
        "1795165200",
        "1795165200.0",
        1795165200000,
        "1795165200000000",
        1795165200000000000,
        {"$date": "2026-11-20T09:00:00Z"},
        {"$date": 1795165200000},
        {"$date": {"$numberLong": "1795165200000"}},
        {"seconds": 1795165200, "nanos": 0},
        {"_seconds": 1795165200, "_nanoseconds": 0},
    ],
)
def test_one_moment_in_many_spellings(value):
    assert read_moment(value) == NINE


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("01/02/2026", "may be of two days"),
        ("1.2.26", "may be of two days"),
        ("2026-13-01", "is not a time"),
        ("2026-11-20T25:00:00Z", "is not a time"),
        ("2026-11-20T09:00:00+99:99", "is not a time"),
        ("2026-11-20T09:00:00+23:00", "has an offset that no zone has"),
        ("2026-11-20T09:00:00[Nowhere/City]", "is not a time"),
        (float("nan"), "is not a time"),
        ([], "is not a time"),
        ({"year": 2026}, "is not a time"),
        (-1, "is before 1970"),
    ],
)
def test_what_is_no_usable_time_says_why(value, why):
    with pytest.raises(NoMoment, match=why):
        read_moment(value, received=RECEIVED)


def test_a_time_without_a_zone_is_of_the_zone_that_is_set():
    berlin = ZoneInfo("Europe/Berlin")
    assert read_moment("2026-11-20 10:00", berlin) == NINE
    assert read_moment("2026-11-20", berlin) == datetime(2026, 11, 19, 23, tzinfo=UTC)
    assert read_moment("2026-11-20T09:00Z", berlin) == NINE


def test_the_last_second_of_a_day_may_be_one_more():
    assert read_moment("2026-06-30T23:59:60Z") == datetime(2026, 7, 1, tzinfo=UTC)
    assert read_moment("2026-11-20T24:00:00Z") == datetime(2026, 11, 21, tzinfo=UTC)


moments = st.datetimes(datetime(1980, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


@given(moment=moments)
def test_a_moment_is_the_same_in_every_unit(moment):
    whole = moment.replace(microsecond=0)
    seconds = int(whole.timestamp())
    if len(str(seconds)) != 8:
        for unit in (1, 1_000, 1_000_000, 1_000_000_000):
            assert read_moment(seconds * unit) == read_moment(str(seconds * unit)) == whole
    assert read_moment(moment.isoformat()) == moment


@given(moment=moments, ahead=st.timedeltas(timedelta(seconds=-9), timedelta(days=400)))
def test_a_time_is_in_the_future_from_a_day_after_its_receipt(moment, ahead):
    if ahead <= timedelta(days=1):
        assert read_moment(moment + ahead, received=moment) == moment + ahead
    else:
        with pytest.raises(NoMoment, match="is in the future"):
            read_moment(moment + ahead, received=moment)


@given(value=st.text(max_size=30) | st.integers() | st.floats() | st.none())
def test_no_value_raises_anything_but_that_it_is_no_time(value):
    with contextlib.suppress(NoMoment):
        assert read_moment(value).tzinfo is UTC
    with contextlib.suppress(NoMoment):
        read_moment({"$date": value})
    json.dumps(str(value))
