"""SQL reads what `same_arguments` said of a correction; of rows from before that was kept too."""

import tarfile
from datetime import timedelta
from pathlib import Path

import pytest
import version10
from version10 import CORRECTED, NOW

from flywheel.loader import Loader
from flywheel.records import Feedback, Prediction
from flywheel.spool import Spool
from flywheel.store import (
    archive,
    champion_answers,
    consistency,
    events,
    health,
    open_store,
    schema,
)

SINCE, UNTIL = NOW - timedelta(days=30), NOW + timedelta(days=30)


def right(store):
    """Labels of `set_alarm` that found the answer right, and all of them."""
    with store.read() as con:
        pairs = health.halves(con, SINCE, SINCE, UNTIL)[0].pairs
    return sum(pair.count for pair in pairs if pair.correct), sum(pair.count for pair in pairs)


def prediction(key, arguments):
    return Prediction(id=key, ts=NOW, text=key, intent="set_alarm", arguments=arguments)


def correction(key, arguments, **changes):
    said = {"id": f"f-{key}", "ts": NOW, "verdict": "corrected", "intent": "set_alarm"}
    return Feedback(**said | changes, prediction_id=key, arguments=arguments)


@pytest.mark.parametrize("first", ["prediction", "feedback"])
@pytest.mark.parametrize(("predicted", "given", "same"), CORRECTED)
def test_a_correction_to_the_same_arguments_finds_the_answer_right(
    store, predicted, given, same, first
):
    with store.write() as con:
        if first == "prediction":
            events.add_predictions(con, [prediction("p", predicted)])
        events.add_feedback(con, [correction("p", given)])
        events.add_predictions(con, [prediction("p", predicted)])
    assert right(store) == (int(same), 1)
    with store.read() as con:
        failed = champion_answers.failures(con, None, "set_alarm", SINCE, 9)
        assert [each.text for each in failed] == ([] if same else ["p"])
        assert consistency.differences(con) == []


@pytest.mark.parametrize(
    ("changes", "correct"), [({"verdict": "incorrect"}, 0), ({"verdict": "correct"}, 1)]
)
def test_a_verdict_stands_whatever_the_arguments_say(store, changes, correct):
    with store.write() as con:
        events.add_predictions(con, [prediction("p", {"time": "Seven"})])
        events.add_feedback(con, [correction("p", {"time": "seven"}, **changes)])
    assert right(store) == (correct, 1)


def test_of_two_corrections_the_later_counts(store):
    with store.write() as con:
        events.add_predictions(con, [prediction("p", {"time": "Seven"})])
        events.add_feedback(con, [correction("p", {"time": "eight"})])
        later = {"id": "f-later", "ts": NOW + timedelta(hours=1)}
        events.add_feedback(con, [correction("p", {"time": "seven"}, **later)])
    assert right(store) == (1, 1)


@pytest.fixture
def earlier(tmp_path):
    """A state folder that a daemon of schema version 10 left behind."""
    folder = tmp_path / "earlier"
    with tarfile.open(Path(__file__).with_name("version10.tar.gz")) as packed:
        packed.extractall(folder, filter="data")
    return folder


def loaded(folder):
    """The store of a folder, with all that its spool holds."""
    store, spool = open_store(folder / "flywheel.duckdb"), Spool(folder / "spool", 1 << 24)
    assert Loader(store, spool).empty()
    spool.close()
    return store


def test_a_state_folder_of_schema_10_says_what_its_events_say_today(earlier, tmp_path):
    migrated = loaded(earlier)
    spool = Spool(tmp_path / "spool", 1 << 24)
    version10.send(spool, 0, 66)
    spool.close()
    fresh = loaded(tmp_path)
    with migrated.read() as old, fresh.read() as new:
        assert consistency.differences(old) == []
        assert archive.archived(old).files == 4
        for name in ("judged", "rejudged"):
            assert schema.fingerprints(old)[name] == schema.fingerprints(new)[name]
        found = health.halves(old, SINCE, SINCE, UNTIL)
        assert found == health.halves(new, SINCE, SINCE, UNTIL)
    right = [n for n in range(66) if CORRECTED[n % len(CORRECTED)][2] and n % 10 != 5]
    assert sum(pair.count for pair in found[0].pairs if pair.correct) == len(right)
    migrated.close()
    fresh.close()
