"""The next golden generation is asked for in time, at the pace of this one's queries."""

from datetime import UTC, datetime, timedelta

from flywheel.config import GatesTable
from flywheel.gates import next_generation
from flywheel.metrics import likely_rows
from flywheel.records import Intent

START = datetime(2026, 11, 1, tzinfo=UTC)
KNOWN = (Intent(name="play"), Intent(name="call", critical=True))


def after(count, days=1.0, **later):
    """What is wanted right after `count` queries, one every `days`."""
    asked = [START + i * timedelta(days=days) for i in range(count)]
    now = (asked[-1] if asked else START) + timedelta(**later)
    return next_generation(asked, KNOWN, GatesTable(), now)


def test_it_has_rows_that_decide_nine_of_ten_harmless_intents():
    wanted = after(0)
    assert wanted.each == {"play": likely_rows(0.20), "call": likely_rows(0.10)}
    assert wanted.rows == likely_rows(0.20) + likely_rows(0.10)


def test_without_a_pace_no_day_is_named_and_nothing_is_due():
    assert [(after(n).by, after(n).due) for n in (0, 1)] == [(None, False), (None, False)]


def test_the_day_is_that_of_the_last_query_at_the_pace_so_far():
    assert after(10, days=3).by == START + 29 * timedelta(days=3)


def test_it_is_due_when_a_fifth_of_the_queries_is_left():
    assert [after(n, days=30).due for n in (23, 24, 30)] == [False, True, True]


def test_it_is_due_when_the_queries_end_within_two_weeks():
    assert after(10, days=0.5).due
    assert not after(10, days=3).due


def test_one_that_is_worn_is_wanted_now():
    worn = after(30, days=1)
    assert (worn.by, worn.due) == (START + timedelta(days=29), True)


def test_a_day_that_has_passed_is_today():
    late = after(20, days=1, weeks=8)
    assert late.by == START + timedelta(days=19, weeks=8)
