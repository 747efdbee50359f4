"""Alarms on the traffic of the last whole week, of the champion's own answers, one a key."""

from __future__ import annotations

import contextlib
import dataclasses
from datetime import timedelta

import pytest
from runtimes import NOW, runtime_in

from flywheel.config import TriggersTable
from flywheel.daemon.triggers import TriggerState, reason
from flywheel.records import Prediction
from flywheel.store import events
from flywheel.turn import drift, look_at_traffic
from tests.fakes import json_views as views

LAST = drift.week_of(NOW) - 1


@pytest.fixture
def runtime(tmp_path):
    built = runtime_in(tmp_path)
    with contextlib.closing(built.store):
        yield built


def produce(runtime, week, *, none, keys=100, each=1, name="w"):
    made = [
        Prediction(
            id=f"{name}-{week}-{key}-{n}",
            ts=drift.end_of(week) - timedelta(days=1),
            text=f"text {key}",
            intent="none" if key < none else "play",
            confidence=0.9,
            rater=f"u-{key}",
        )
        for key in range(keys)
        for n in range(each)
    ]
    with runtime.store.write() as con:
        events.add_predictions(con, made)


def test_more_none_than_in_the_weeks_before_raises_an_alarm_that_status_names(runtime):
    for back in (1, 2):
        produce(runtime, LAST - back, none=10)
    produce(runtime, LAST, none=40)
    assert {one.name for one in look_at_traffic(runtime)} == {"intents", "abstention"}
    status = views.status(runtime, uptime_s=1.0, next_turn=None)
    (problem,) = [each for each in status["problems"] if "(abstention)" in each]
    assert problem == (
        "traffic changed last week (abstention): call: 90.0 % before, 60.0 % in the last week; "
        "such an alarm is false 0.25 times a year"
    )
    assert [one["name"] for one in status["watch"]["alarms"] if one["raised"]] == [
        "intents",
        "abstention",
    ]


def test_one_key_that_asks_much_moves_nothing(runtime):
    for back in (1, 2):
        produce(runtime, LAST - back, none=10)
    produce(runtime, LAST, none=10)
    produce(runtime, LAST, none=1, keys=1, each=500, name="heavy")
    assert look_at_traffic(runtime) == ()


def test_a_week_is_looked_at_once_and_the_next_one_anew(runtime):
    produce(runtime, LAST - 1, none=10)
    produce(runtime, LAST, none=10)
    assert look_at_traffic(runtime) == ()
    produce(runtime, LAST, none=100, keys=100, name="late")
    assert look_at_traffic(runtime) == ()
    later = dataclasses.replace(runtime, clock=lambda: NOW + drift.WEEK)
    produce(runtime, LAST + 1, none=80)
    assert look_at_traffic(later) != ()


def test_an_alarm_opens_a_turn_where_it_may_and_feedback_is_new():
    state = TriggerState(
        feedback=1, failing=(), since_last=None, opened_today=0, alarms=("intents", "input")
    )
    on = TriggersTable(drift=True)
    assert reason(on, state) == "traffic changed last week: intents, input"
    assert reason(TriggersTable(), state) is None
    assert reason(on, dataclasses.replace(state, feedback=0)) is None
    assert reason(on, dataclasses.replace(state, alarms=())) is None
