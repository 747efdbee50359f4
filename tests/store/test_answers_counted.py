"""A logged prediction may stand for answers that were not logged: counts have all of them, rates
only what can be judged."""

import json
from datetime import UTC, datetime, timedelta

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel import formats
from flywheel.metrics import IntentPair
from flywheel.records import Call, Feedback, Prediction
from flywheel.store import (
    archive,
    consistency,
    erasure,
    events,
    health,
    open_store,
    retention,
    schema,
    traffic,
)

NOW = datetime(2026, 11, 22, tzinfo=UTC)
DAY = timedelta(days=1)


def prediction(number, days=1.0, **more):
    said = {"text": f"text {number}", "intent": "alarm", "session": f"s-{number}"}
    return Prediction(id=f"p-{number}", ts=NOW - days * DAY, **(said | more))


def seen(store, days=30.0):
    """Volume and pairs over so many days, and all counts."""
    with store.read() as con:
        whole = health.halves(con, NOW - days * DAY, NOW - days * DAY, NOW)[0]
        return dict(whole.volume), whole.pairs, events.counts(con).predictions


def agrees(store):
    with store.read() as con:
        return consistency.differences(con)


def test_counts_have_the_answers_that_were_left_out_and_rates_do_not(store):
    judged = Feedback(
        id="f-1", prediction_id="p-1", ts=NOW - DAY / 2, verdict="corrected", intent="timer"
    )
    with store.write() as con:
        events.add_predictions(con, [prediction(1, answers=10), prediction(2, intent="none")])
        events.add_feedback(con, [judged])
    pairs = (IntentPair(predicted="alarm", truth="timer", correct=False, count=1),)
    assert seen(store) == ({"alarm": 10, "none": 1}, pairs, 11)
    assert agrees(store) == []


@pytest.mark.parametrize("days", [30.0, 1.5, 0.75])  # whole days by sums; cut days by the rows
def test_every_way_of_counting_a_period_has_them(store, days):
    with store.write() as con:
        events.add_predictions(con, [prediction(1, 0.5, answers=7), prediction(2, 0.6)])
    assert seen(store, days)[0] == {"alarm": 8}


def test_an_answer_of_several_calls_counts_them_under_each(store):
    calls = (Call(intent="alarm"), Call(intent="timer"))
    with store.write() as con:
        events.add_predictions(con, [prediction(1, calls=calls, answers=5)])
    assert seen(store)[0] == {"alarm": 5, "timer": 5}
    assert agrees(store) == []


def test_of_two_records_of_one_exchange_those_of_the_better_one_count(store):
    with store.write() as con:
        events.add_predictions(con, [prediction(1, exchange="e", answers=5)])
        events.add_predictions(con, [prediction(2, exchange="e", answers=3, precedence=1)])
    assert seen(store)[0] == {"alarm": 3}
    assert seen(store)[2] == 3
    assert agrees(store) == []


def test_the_archive_has_them_and_erasing_takes_them_off(store):
    with store.write() as con:
        events.add_predictions(con, [prediction(n, n, answers=n) for n in range(1, 9)])
    before = seen(store)
    retention.archive_before(store, NOW - 4 * DAY, NOW)
    with store.read() as con:
        assert archive.archived(con).predictions == 5 + 6 + 7 + 8
    assert seen(store)[0] == before[0] == {"alarm": 36}
    with store.write() as con:
        erasure.remove(con, erasure.traces(con, erasure.Person(session="s-8")))
        erasure.remove(con, erasure.traces(con, erasure.Person(session="s-2")))
        archive.settle(con)
    assert seen(store)[0] == {"alarm": 26}
    with store.read() as con:
        assert archive.archived(con).predictions == 5 + 6 + 7
    assert agrees(store) == []


def test_a_file_of_the_archive_without_the_column_counts_a_row_each(store):
    with store.write() as con:
        events.add_predictions(con, [prediction(1, 8), prediction(2, 8), prediction(3, 1)])
    retention.archive_before(store, NOW - 4 * DAY, NOW)
    (path,) = (store.path.parent / "archive").glob("*.parquet")
    with duckdb.connect() as other:  # as an earlier version wrote it
        other.execute(f"CREATE TABLE kept AS SELECT * EXCLUDE (answers, cost_usd) FROM '{path}'")
        other.execute(f"COPY kept TO '{path}' (FORMAT parquet)")
    with store.write() as con:
        con.execute("UPDATE archives SET answers = NULL")
    with store.read() as con:
        assert archive.archived(con).predictions == 2
    assert agrees(store) == []
    with store.write() as con:
        erasure.remove(con, erasure.traces(con, erasure.Person(session="s-2")))
        archive.settle(con)
    with store.read() as con:
        assert archive.archived(con).predictions == 1
    assert agrees(store) == []


def test_recent_traffic_weighs_each_by_its_answers_also_in_an_older_file(store):
    with store.write() as con:
        events.add_predictions(con, [prediction(1, answers=9), prediction(2, intent="none")])
    with store.read() as con:
        assert dict(traffic.recent(con).intents) == {"alarm": 9, "none": 1}
    path = store.path.with_name("older.duckdb")
    with duckdb.connect(str(path)) as other:
        other.execute("CREATE TABLE predictions (id TEXT, ts TIMESTAMP, intent TEXT, text TEXT)")
        other.execute("INSERT INTO predictions VALUES ('p', now()::TIMESTAMP, 'alarm', 'x')")
    assert traffic.of_closed(path).n == 1


def test_costs_are_summed_by_adapter_where_they_are_known(store):
    with store.write() as con:
        events.add_predictions(
            con,
            [
                prediction(1, adapter="upstream:x", cost_usd=0.25, answers=2),
                prediction(2, adapter="upstream:x", cost_usd=0.5),
                prediction(3, adapter="upstream:x"),
                prediction(4, adapter="upstream:y", cost_usd=0.0),
                prediction(5, 9, adapter="upstream:x", cost_usd=8.0),
            ],
        )
    with store.read() as con:
        found = traffic.costs(con, NOW - 2 * DAY)
    assert [(each.adapter, each.usd, each.answers) for each in found] == [
        ("upstream:x", 0.75, 3),
        ("upstream:y", 0.0, 1),
    ]


def test_a_database_of_the_version_before_counts_each_answer_once(tmp_path, monkeypatch):

    path, shipped = tmp_path / "flywheel.duckdb", schema.shipped()
    with monkeypatch.context() as patch:
        patch.setattr(schema, "shipped", lambda: shipped[:13])
        open_store(path).close()
    with duckdb.connect(str(path)) as con:
        con.execute("INSERT INTO predictions (id, ts, text, intent) VALUES ('p', now(), 'x', 'a')")
        con.execute("INSERT INTO daily VALUES (date_trunc('day', now()), 'a', NULL, NULL, 1)")
    store = open_store(path)
    with store.read() as con:
        assert events.counts(con).predictions == 1
        assert con.execute("SELECT answers, cost_usd FROM predictions").fetchall() == [(1, None)]
    store.close()


BAD = {
    "answers": [0, -1, 1.5, "3", True, 1_000_000_001, 1e300],
    "cost_usd": [-0.01, "0.1", True, [1]],
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in BAD.items() for value in values]
)
def test_a_count_or_a_cost_that_is_none_refuses_the_event(field, value):
    event = {"id": "p-1", "ts": "2026-11-22T05:17:00Z", "text": "x", "intent": "alarm"}

    raw = json.dumps(event | {field: value}).encode()
    written = formats.write_body("predictions", raw, received=NOW)
    assert [(bad.field, written.accepted) for bad in written.rejected] == [(field, 0)]


@given(st.integers(1, 10**9), st.floats(0, 1e6) | st.none() | st.integers(0, 9))
def test_a_count_and_a_cost_are_read_as_they_were_sent(answers, cost):

    event = {"id": "p-1", "ts": "2026-11-22T05:17:00Z", "text": "x", "intent": "alarm"}
    raw = json.dumps(event | {"answers": answers, "cost_usd": cost}).encode()
    (read,) = formats.read_lines("predictions", [raw], received=NOW).predictions
    assert (read.answers, read.cost_usd) == (answers, cost)


def test_a_record_refuses_them_too():
    with pytest.raises(ValueError, match="`answers` is 0"):
        prediction(1, answers=0)
    with pytest.raises(ValueError, match="`cost_usd` is -1"):
        prediction(1, cost_usd=-1)
