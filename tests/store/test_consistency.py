from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flywheel import formats
from flywheel.loader import Loader
from flywheel.records import Feedback, Prediction
from flywheel.spool import Spool
from flywheel.store import consistency, events, retention
from flywheel.turn.integrity import check
from tests.fakes.spool_writer import append_and_wait

NOW = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.fixture
def filled(store):
    def at(number):
        return NOW - timedelta(days=number / 2, hours=1)

    made = [Prediction(id=f"p-{n}", ts=at(n), text="x", intent="alarm") for n in range(12)]
    said = {"verdict": "corrected", "intent": "timer", "rater_kind": "user"}
    with store.write() as con:
        events.add_predictions(con, made)
        for n, name in [(2, "f-2"), (3, "f-3"), (9, "f-9"), (3, "g-3")]:
            one = Feedback(id=name, prediction_id=f"p-{n}", ts=at(n), **said)
            events.add_feedback(con, [one])
    retention.archive_before(store, NOW - timedelta(days=3), NOW)
    return store


def found(store):
    with store.read() as con:
        return consistency.differences(con)


TAMPERED = {
    "UPDATE daily SET predictions = 9 WHERE day = '2026-11-21'": (
        "daily has 9 predictions of alarm on 2026-11-21, and there are 2"
    ),
    "DELETE FROM predictions WHERE id = 'p-1'": (
        "daily has 2 predictions of alarm on 2026-11-21, and there are 1"
    ),
    "UPDATE daily_labels SET correct = true WHERE day = '2026-11-20'": (
        "daily_labels has 0 labels of alarm on 2026-11-20, and there are 3"
    ),
    "INSERT INTO predictions SELECT * FROM predictions WHERE id = 'p-1'": (
        "1 times: id is twice in predictions (p-1)"
    ),
    "DELETE FROM judged WHERE feedback_id = 'f-2'": (
        "1 times: feedback is not in judged, though its prediction is here (f-2)"
    ),
    "DELETE FROM feedback WHERE id = 'f-2'": "1 times: row of judged has no feedback (f-2)",
    "DELETE FROM rejudged WHERE feedback_id = 'g-3'": (
        "1 times: row of judged is not as rejudged has it (g-3)"
    ),
    "UPDATE archives SET row_count = 7 WHERE number = 1": (
        "archive/predictions-2026-11-16.1.0.parquet has 2 rows, and should have 7"
    ),
}


@pytest.mark.parametrize(("sql", "named"), TAMPERED.items())
def test_what_was_tampered_with_is_named(filled, sql, named):
    assert found(filled) == []
    with filled.write() as con:
        con.execute(sql)
    assert named in found(filled)


def test_a_file_that_is_gone_and_one_that_came_are_named(filled):
    folder = filled.path.parent / "archive"
    path = folder / "predictions-2026-11-16.1.0.parquet"
    path.rename(folder / "predictions-2026-11-16.8.0.parquet")
    assert found(filled) == [
        "archive/predictions-2026-11-16.1.0.parquet is missing, with 2 rows",
        "archive/predictions-2026-11-16.8.0.parquet is not of this database: "
        "move it away if nobody needs it",
    ]


def test_an_acknowledged_event_that_is_in_no_table_is_named(filled):
    state = filled.path.parent
    spool = Spool(state / "spool", 1 << 20)
    line = b'{"id":"p-77","ts":"2026-11-22T05:17:00Z","text":"x","intent":"alarm"}'
    append_and_wait(spool, formats.write_body("predictions", line, received=NOW).lines)
    told = check(filled, state)
    assert (told["spool"], told["problems"]) == ({"events": 1, "waiting": 1}, [])
    loader = Loader(filled, spool)
    told = check(filled, state, loader.drain)
    assert (told["spool"], told["problems"]) == ({"events": 1, "waiting": 0}, [])
    with filled.write() as con:
        con.execute("DELETE FROM predictions WHERE id = 'p-77'")
    (sums, lost) = check(filled, state, loader.drain)["problems"]
    assert lost == "1 acknowledged events of the spool are in no table, such as p-77"
    assert sums.startswith("daily has 1 predictions of alarm on 2026-11-22")
    spool.close()
