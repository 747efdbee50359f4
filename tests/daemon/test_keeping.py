"""Old events leave the tables while the daemon runs, and what is asked of them stays."""

import doctest
from datetime import UTC, datetime, timedelta

from flywheel.daemon import retention
from flywheel.daemon.retention import Keeping
from flywheel.records import Prediction
from flywheel.store import events
from flywheel.turn import overview, views


def arrive(wheel):
    ages = [timedelta(days=n / 2, hours=1) for n in range(20)]
    with wheel.store.write() as con:
        events.add_predictions(
            con,
            [
                Prediction(id=f"p-{n}", ts=wheel.clock() - age, text="x", intent="set_alarm")
                for n, age in enumerate(ages)
            ],
        )


def archived(wheel):
    told = overview.status(wheel, uptime_s=1, next_turn=None)
    return told["backlog"]["predictions"], told["archive"]


def test_what_is_older_than_keep_days_leaves_and_status_and_log_say_so(make_wheel, caplog):
    caplog.set_level("INFO")
    wheel = make_wheel("[flywheel]\nkeep_days = 4\n")
    arrive(wheel)
    before = views.intents(wheel)
    assert Keeping(wheel).look() == 11
    assert archived(wheel) == (
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
    assert views.intents(wheel) == before
    assert Keeping(wheel).look() == 0


def test_nothing_leaves_by_default(make_wheel):
    wheel = make_wheel()
    arrive(wheel)
    assert Keeping(wheel).look() == 0
    assert archived(wheel)[0] == 20


def test_asked_to_stop_it_stops_between_two_days(make_wheel):
    wheel = make_wheel("[flywheel]\nkeep_days = 1\n")
    arrive(wheel)
    looking = Keeping(wheel)
    looking.stop(0)
    assert looking.look() == 0


def test_the_examples_in_its_docstrings_hold():
    found = doctest.testmod(retention, extraglobs={"UTC": UTC, "datetime": datetime})
    assert (found.attempted, found.failed) == (1, 0)
