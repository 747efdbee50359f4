from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel import turn
from flywheel.daemon.schedule import Schedule, latest_slot, next_slot, trigger_of
from flywheel.errors import ConfigError
from flywheel.store import turns

CRONS = (
    "0 3 * * *",
    "*/37 * * * *",
    "30 2 * * sun",
    "0 0 1 * *",
    "15 4 * feb mon-fri",
    "*/20 0-22 * * *",
)
NIGHTLY = '[schedule]\ncron = "0 3 * * *"\n'
DAY = timedelta(days=1)


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def triggers_of(runtime):
    with runtime.store.read() as con:
        return [one.trigger for one in reversed(turns.list_turns(con))]


@pytest.fixture
def started(make_runtime):
    """Starts the schedule of a configuration as a daemon would, and stops the one before."""
    running = []

    def start(text):
        for schedule in running:
            schedule.stop()
        runtime = make_runtime(text)
        schedule = Schedule(runtime)
        schedule.start()
        running.append(schedule)
        return runtime, schedule

    yield start
    for schedule in running:
        schedule.stop()


def test_a_weekday_by_name_is_that_day():
    assert next_slot(trigger_of("0 0 * * sun"), at("2026-11-23")) == at("2026-11-29")
    assert at("2026-11-29").strftime("%a") == "Sun"


@pytest.mark.parametrize("weekday", ["0", "7", "1-5", "mon,3", "*/2"])
def test_a_weekday_by_number_is_refused_and_not_shifted_by_a_day(weekday):
    with pytest.raises(ConfigError, match="is a number") as refused:
        trigger_of(f"0 0 * * {weekday}")
    assert "mon-fri" in refused.value.hint


def test_day_of_month_with_weekday_is_refused_because_crons_disagree_on_it():
    with pytest.raises(ConfigError, match="together"):
        trigger_of("0 0 13 * fri")


@pytest.mark.parametrize("cron", ["0 3 * *", "0 3 * * * *", "@daily"])
def test_other_than_five_fields_is_refused(cron):
    with pytest.raises(ConfigError, match="fields, not 5"):
        trigger_of(cron)


@pytest.mark.parametrize("cron", ["61 3 * * *", "0 24 * * *", "0 3 * * funday", "x 3 * * *"])
def test_a_value_out_of_range_is_refused(cron):
    with pytest.raises(ConfigError, match="schedule"):
        trigger_of(cron)


def test_an_empty_cron_starts_nothing(started):
    runtime, schedule = started('[schedule]\ncron = ""\n')
    assert schedule.next_turn() is None
    assert triggers_of(runtime) == []


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
def test_a_change_of_summer_time_neither_skips_nor_doubles_a_slot(day):
    trigger = trigger_of("30 2 * * *")
    berlin = ZoneInfo("Europe/Berlin")
    begin = at(day) - DAY
    assert begin.astimezone(berlin).utcoffset() != (begin + 2 * DAY).astimezone(berlin).utcoffset()
    slots = [next_slot(trigger, begin + number * DAY) for number in range(3)]
    assert slots == [begin + number * DAY + timedelta(hours=2, minutes=30) for number in range(3)]


@given(
    st.sampled_from(CRONS),
    st.datetimes(datetime(2024, 1, 1), datetime(2026, 1, 1)),
    st.timedeltas(timedelta(0), timedelta(days=3)),
)
def test_the_latest_slot_is_the_last_of_all_slots_that_passed(cron, after, span):
    trigger, after = trigger_of(cron), after.replace(tzinfo=UTC)
    passed, slot = [], next_slot(trigger, after)
    while slot <= after + span:
        passed.append(slot)
        slot = next_slot(trigger, slot)
    assert latest_slot(trigger, after, after + span) == (passed[-1] if passed else None)


def test_the_first_start_counts_nothing_as_missed(started, clock):
    runtime, schedule = started(NIGHTLY)
    assert triggers_of(runtime) == []
    assert schedule.next_turn() == at("2026-11-23T03:00")


def test_a_week_of_missed_slots_opens_exactly_one_turn(started, clock):
    started(NIGHTLY)
    clock.now += 7 * DAY
    runtime, _ = started(NIGHTLY)
    assert triggers_of(runtime) == ["schedule 2026-11-29T03:00Z (late)"]


def test_starting_again_after_the_catch_up_opens_no_second_turn(started, clock):
    started(NIGHTLY)
    clock.now += 7 * DAY
    runtime, _ = started(NIGHTLY)
    with runtime.store.write() as con:
        turns.close(con, "t-1", clock.now, state="done")
    runtime, _ = started(NIGHTLY)
    assert triggers_of(runtime) == ["schedule 2026-11-29T03:00Z (late)"]


def test_a_slot_of_a_changed_cron_line_was_not_missed(started, clock):
    started(NIGHTLY)
    clock.now += 7 * DAY
    runtime, _ = started('[schedule]\ncron = "0 5 * * *"\n')
    assert triggers_of(runtime) == []


def test_each_slot_opens_a_turn_and_firing_again_does_not(started, clock):
    runtime, schedule = started(NIGHTLY)
    clock.now = at("2026-11-23T03:00")
    schedule.fire()
    schedule.fire()
    assert triggers_of(runtime) == ["schedule 2026-11-23T03:00Z"]
    assert runtime.wake.is_set()


def test_a_slot_that_finds_a_turn_open_is_answered_by_that_turn(started, clock):
    runtime, schedule = started(NIGHTLY)
    turn.request(runtime, "asked by ana")
    clock.now = at("2026-11-23T03:00")
    schedule.fire()
    with runtime.store.write() as con:
        turns.close(con, "t-1", clock.now, state="done")
    runtime, _ = started(NIGHTLY)
    assert triggers_of(runtime) == ["asked by ana"]


def test_a_clock_set_back_for_good_does_not_silence_the_schedule(started, clock):
    clock.now = at("2036-01-01T12:00")
    started(NIGHTLY)
    clock.now = at("2026-11-22T12:00")
    runtime, schedule = started(NIGHTLY)
    clock.now = at("2026-11-23T03:00")
    schedule.fire()
    assert triggers_of(runtime) == ["schedule 2026-11-23T03:00Z"]


def test_a_clock_set_back_while_running_does_not_silence_the_schedule(started, clock):
    clock.now = at("2036-01-01T12:00")
    runtime, schedule = started(NIGHTLY)
    clock.now = at("2026-11-22T12:00")
    schedule.clock_moved(-1.0)
    clock.now = at("2026-11-23T03:00")
    schedule.fire()
    assert triggers_of(runtime) == ["schedule 2026-11-23T03:00Z"]
