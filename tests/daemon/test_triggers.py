"""Turns that the state of the loop opens, between the slots of the schedule."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.config import TriggersTable
from flywheel.daemon.triggers import Triggers, TriggerState, reason
from flywheel.records import Feedback, Prediction
from flywheel.store import events, turns

NEWS = '[schedule]\ncron = ""\n[schedule.triggers]\nfeedback = 20\n'
FAILING = '[schedule]\ncron = ""\n[schedule.triggers]\nfailing_intents = 1\n'
HOUR = timedelta(hours=1)


def arrive(runtime, count, *, prefix="p", right=False):
    """So many predictions of set_alarm with feedback on each."""
    now = runtime.clock()
    with runtime.store.write() as con:
        events.add_predictions(
            con,
            [
                Prediction(id=f"{prefix}{i}", ts=now, text=f"wake {prefix}{i}", intent="set_alarm")
                for i in range(count)
            ],
        )
        events.add_feedback(
            con,
            [
                Feedback(
                    id=f"f-{prefix}{i}",
                    prediction_id=f"{prefix}{i}",
                    ts=now,
                    verdict="correct" if right else "corrected",
                    intent=None if right else "play_music",
                )
                for i in range(count)
            ],
        )


def triggers_of(runtime):
    with runtime.store.read() as con:
        return [one.trigger for one in reversed(turns.list_turns(con))]


def end_the_turn(runtime):
    with runtime.store.write() as con:
        turns.close(con, turns.list_turns(con, 1)[0].id, runtime.clock(), state="done")


def test_enough_new_feedback_opens_a_turn_that_says_so(make_runtime, clock):
    runtime = make_runtime(NEWS)
    arrive(runtime, 19)
    Triggers(runtime).look()
    assert triggers_of(runtime) == []
    clock.now += HOUR
    arrive(runtime, 1, prefix="q")
    Triggers(runtime).look()
    assert triggers_of(runtime) == ["20 new feedback (20 open a turn)"]
    assert runtime.wake.is_set()


def test_failing_intents_open_a_turn_that_names_them(make_runtime, clock):
    runtime = make_runtime(FAILING)
    arrive(runtime, 12, right=True)
    Triggers(runtime).look()
    assert triggers_of(runtime) == []
    clock.now += HOUR
    arrive(runtime, 30, prefix="w")
    Triggers(runtime).look()
    (opened,) = triggers_of(runtime)
    assert opened.startswith("2 failing intents (1 open a turn): ")
    assert "set_alarm" in opened


def test_nothing_is_opened_twice_on_the_same_evidence(make_runtime, clock):
    runtime = make_runtime(FAILING)
    arrive(runtime, 30)
    for _ in range(3):
        clock.now += 24 * HOUR
        Triggers(runtime).look()
        if triggers_of(runtime):
            end_the_turn(runtime)
    assert len(triggers_of(runtime)) == 1


def test_the_cooldown_counts_from_the_end_of_any_turn(make_runtime, clock):
    runtime = make_runtime(NEWS)
    arrive(runtime, 20)
    Triggers(runtime).look()
    clock.now += 24 * HOUR  # a long turn
    end_the_turn(runtime)
    arrive(runtime, 20, prefix="q")
    clock.now += 5 * HOUR
    Triggers(runtime).look()
    assert len(triggers_of(runtime)) == 1
    clock.now += 2 * HOUR
    Triggers(runtime).look()
    assert len(triggers_of(runtime)) == 2


def test_an_open_turn_is_not_joined_by_another(make_runtime, clock):
    runtime = make_runtime(NEWS + "cooldown_minutes = 0.0\n")
    arrive(runtime, 20)
    Triggers(runtime).look()
    clock.now += HOUR
    arrive(runtime, 20, prefix="q")
    Triggers(runtime).look()
    assert len(triggers_of(runtime)) == 1


def test_a_clock_set_back_for_good_does_not_silence_the_triggers(make_runtime, clock):
    runtime = make_runtime(NEWS)
    arrive(runtime, 20)
    Triggers(runtime).look()
    end_the_turn(runtime)
    clock.now -= 3650 * 24 * HOUR
    arrive(runtime, 20, prefix="q")
    clock.now += HOUR
    Triggers(runtime).look()
    assert len(triggers_of(runtime)) == 2


@pytest.mark.parametrize("opened", [4, 9])
def test_the_days_budget_of_turns_is_kept(opened):
    eager = TriggersTable(feedback=1, failing_intents=1, turns_per_day=4)
    now = TriggerState(feedback=99, failing=("a",), since_last=9 * HOUR, opened_today=opened)
    assert reason(eager, now) is None


situations = st.builds(
    TriggerState,
    feedback=st.integers(0, 500),
    failing=st.lists(st.sampled_from("abcdef"), unique=True).map(tuple),
    since_last=st.none() | st.timedeltas(timedelta(days=-2), timedelta(days=2)),
    opened_today=st.integers(0, 9),
)


@given(situations)
def test_what_is_off_opens_nothing(now):
    assert reason(TriggersTable(), now) is None


@given(situations, st.integers(1, 400), st.integers(1, 400))
def test_a_higher_bar_opens_no_more_turns(now, one, other):
    low, high = sorted((one, other))
    if reason(TriggersTable(feedback=high), now):
        assert reason(TriggersTable(feedback=low), now)
