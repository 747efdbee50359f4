"""Old events leave the tables while the daemon runs, and what is asked of them stays."""

import doctest
from datetime import UTC, datetime, timedelta

from flywheel.daemon import retention
from flywheel.daemon.retention import Retention
from flywheel.records import Prediction
from flywheel.store import events
from tests.fakes import json_views as views


def arrive(runtime):
    ages = [timedelta(days=n / 2, hours=1) for n in range(20)]
    with runtime.store.write() as con:
        events.add_predictions(
            con,
            [
                Prediction(id=f"p-{n}", ts=runtime.clock() - age, text="x", intent="set_alarm")
                for n, age in enumerate(ages)
            ],
        )


def archived(runtime):
    told = views.status(runtime, uptime_s=1, next_turn=None)
    return told["backlog"]["predictions"], told["archive"]


def test_what_is_older_than_keep_days_leaves_and_status_and_log_say_so(make_runtime, caplog):
    caplog.set_level("INFO")
    runtime = make_runtime("[flywheel]\nkeep_days = 4\n")
    arrive(runtime)
    before = views.intents(runtime)
    assert Retention(runtime).look() == 11
    assert archived(runtime) == (
        9,
        {
            "keep_days": 4,
            "before": "2026-11-18T00:00:00+00:00",
            "predictions": 11,
            "feedback": 0,
            "files": 6,
        },
    )
    assert "11 events older than 4 days moved to the archive" in caplog.text
    assert views.intents(runtime) == before
    assert Retention(runtime).look() == 0


def test_nothing_leaves_by_default(make_runtime):
    runtime = make_runtime()
    arrive(runtime)
    assert Retention(runtime).look() == 0
    assert archived(runtime)[0] == 20


def test_asked_to_stop_it_stops_between_two_days(make_runtime):
    runtime = make_runtime("[flywheel]\nkeep_days = 1\n")
    arrive(runtime)
    looking = Retention(runtime)
    looking.stop(0)
    assert looking.look() == 0


def test_the_examples_in_its_docstrings_hold():
    found = doctest.testmod(retention, extraglobs={"UTC": UTC, "datetime": datetime})
    assert (found.attempted, found.failed) == (1, 0)
