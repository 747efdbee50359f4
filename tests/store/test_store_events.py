from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.records import Feedback, Prediction
from flywheel.store import events, rejected, schema
from flywheel.store.columns import records

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def prediction(key: str, **changes) -> Prediction:
    given = {"id": key, "ts": NOON, "text": f"text of {key}", "intent": "play_music"}
    return Prediction(**(given | changes))


def feedback(key: str, on: str, **changes) -> Feedback:
    given = {"id": key, "prediction_id": on, "ts": NOON, "verdict": "correct"}
    return Feedback(**(given | changes))


def labelled(con) -> dict[str, dict]:
    return {row["prediction_id"]: row for row in records(con, "SELECT * FROM labelled")}


# ---- any order ends in the same state ----------------------------------------------------

MINUTES = st.integers(0, 2).map(lambda m: NOON + timedelta(minutes=m))  # few: ties are wanted
INTENTS = st.sampled_from(["play_music", "set_alarm", "none"])
ARGUMENTS = st.sampled_from([{}, {"time": "七点"}, {"time": "7"}])


@st.composite
def universes(draw):
    """A few predictions, and feedback on them and on one that never comes."""
    predictions = [
        prediction(f"p-{i}", ts=draw(MINUTES), intent=draw(INTENTS), arguments=draw(ARGUMENTS))
        for i in range(draw(st.integers(1, 4)))
    ]
    feedbacks = []
    for i in range(draw(st.integers(0, 7))):
        verdict = draw(st.sampled_from(["correct", "incorrect", "corrected"]))
        feedbacks.append(
            feedback(
                f"f-{i}",
                f"p-{draw(st.integers(0, len(predictions)))}",
                ts=draw(MINUTES),
                verdict=verdict,
                intent=draw(INTENTS if verdict == "corrected" else st.none() | INTENTS),
                arguments=draw(st.none() | ARGUMENTS),
            )
        )
    return predictions, feedbacks


def arrive(con, batch) -> None:
    events.add_predictions(con, [e for e in batch if isinstance(e, Prediction)])
    events.add_feedback(con, [e for e in batch if isinstance(e, Feedback)])


@pytest.fixture(scope="module")
def calm_and_wild():
    """Two databases in memory; an example leaves them as they were."""
    with duckdb.connect() as calm, duckdb.connect() as wild:
        for con in (calm, wild):
            schema.migrate(con, schema.shipped())
        yield calm, wild


@contextmanager
def undone(*connections):
    """A transaction on each, rolled back in the end."""
    for con in connections:
        con.begin()
    try:
        yield connections
    finally:
        for con in connections:
            con.rollback()


def expected(predictions, feedbacks) -> dict[str, tuple]:
    """What `labelled` should hold, said in plain Python."""
    right = {}
    for p in predictions:
        own = [f for f in feedbacks if f.prediction_id == p.id]
        if not own:
            continue
        last = max(own, key=lambda f: (f.ts, f.id))
        truth = p.intent if last.verdict == "correct" else last.intent
        wrong_arguments = (
            last.verdict != "correct"
            and truth == p.intent
            and (
                last.verdict == "incorrect"
                or (last.arguments is not None and last.arguments != p.arguments)
            )
        )
        right[p.id] = (truth, wrong_arguments, truth == p.intent and not wrong_arguments)
    return right


@settings(max_examples=25)
@given(st.data())
def test_any_order_repetition_and_batching_ends_in_the_same_state(calm_and_wild, data):
    predictions, feedbacks = data.draw(universes())
    stream = [*predictions, *feedbacks]
    repeats = data.draw(st.lists(st.sampled_from(stream), max_size=6))
    shuffled = data.draw(st.permutations([*stream, *repeats]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(shuffled)), max_size=4)))
    batches = [shuffled[a:b] for a, b in zip([0, *cuts], [*cuts, len(shuffled)], strict=True)]

    with undone(*calm_and_wild) as (calm, wild):
        arrive(calm, stream)
        for batch in batches:
            arrive(wild, batch)
        assert schema.fingerprints(calm) == schema.fingerprints(wild)
        assert labelled(calm) == labelled(wild)
        found = {
            key: (row["truth"], row["arguments_wrong"], row["correct"])
            for key, row in labelled(wild).items()
        }
    assert found == expected(predictions, feedbacks)


# ---- single events -----------------------------------------------------------------------


def test_a_repeated_id_keeps_the_first_and_counts_only_what_is_new(store):
    first, second = prediction("p-1", text="one"), prediction("p-1", text="two")
    with store.write() as con:
        assert events.add_predictions(con, [first, second, prediction("p-2")]).new == 2
    with store.write() as con:
        assert events.add_predictions(con, [second, prediction("p-3")]).new == 1
        rows = con.execute("SELECT id, text FROM predictions ORDER BY id").fetchall()
    assert rows == [("p-1", "one"), ("p-2", "text of p-2"), ("p-3", "text of p-3")]


def test_a_feedback_id_used_again_for_another_prediction_labels_nothing(store):
    with store.write() as con:
        events.add_feedback(con, [feedback("f-1", "p-absent")])
        events.add_predictions(con, [prediction("p-1")])
        assert events.add_feedback(con, [feedback("f-1", "p-1")]).new == 0
        assert labelled(con) == {}


def test_feedback_before_its_prediction_waits_for_it(store):
    with store.write() as con:
        events.add_feedback(con, [feedback("f-1", "p-1"), feedback("f-2", "p-2")])
    with store.read() as con:
        assert events.counts(con) == events.EventCounts(
            predictions=0, feedback=2, labelled=0, waiting_feedback=2, rejected=0
        )
    with store.write() as con:
        events.add_predictions(con, [prediction("p-1")])
    with store.read() as con:
        assert events.counts(con) == events.EventCounts(
            predictions=1, feedback=2, labelled=1, waiting_feedback=1, rejected=0
        )


@pytest.mark.parametrize(
    ("verdict", "intent", "arguments", "truth", "truth_arguments", "arguments_wrong", "correct"),
    [
        ("correct", None, None, "set_alarm", '{"time":"7"}', False, True),
        ("incorrect", None, None, None, None, False, False),
        ("incorrect", "play", None, "play", None, False, False),
        ("incorrect", "set_alarm", None, "set_alarm", None, True, False),
        ("corrected", "play", {}, "play", "{}", False, False),
        ("corrected", "set_alarm", {"time": "8"}, "set_alarm", '{"time":"8"}', True, False),
        ("corrected", "set_alarm", {"time": "7"}, "set_alarm", '{"time":"7"}', False, True),
        ("corrected", "set_alarm", None, "set_alarm", None, False, True),
    ],
)
def test_a_verdict_says_what_was_right(
    store, verdict, intent, arguments, truth, truth_arguments, arguments_wrong, correct
):
    given = prediction("p-1", intent="set_alarm", arguments={"time": "7"})
    said = feedback("f-1", "p-1", verdict=verdict, intent=intent, arguments=arguments)
    with store.write() as con:
        events.add_predictions(con, [given])
        events.add_feedback(con, [said])
        row = labelled(con)["p-1"]
    assert (row["truth"], row["truth_arguments"]) == (truth, truth_arguments)
    assert (row["arguments_wrong"], row["correct"]) == (arguments_wrong, correct)


def test_the_latest_feedback_by_time_then_id_counts_even_when_it_came_first(store):
    late = feedback("f-1", "p-1", ts=NOON + timedelta(hours=1), verdict="corrected", intent="stop")
    tied = feedback("f-0", "p-1", ts=NOON + timedelta(hours=1))
    with store.write() as con:
        events.add_predictions(con, [prediction("p-1")])
        events.add_feedback(con, [late])
        events.add_feedback(con, [tied, feedback("f-9", "p-1")])
        assert labelled(con)["p-1"]["truth"] == "stop"


@pytest.mark.parametrize(
    "text", ["我要听音乐", "七点叫我起床 🌅", "nul\0inside", "", "'; DROP TABLE x"]
)
def test_any_text_comes_back_as_it_went_in(store, text):
    with store.write() as con:
        events.add_predictions(con, [prediction("p-1", text=text, arguments={"歌": text})])
        stored = con.execute("SELECT text, arguments FROM predictions").fetchone()
    assert stored[0] == text
    assert '"歌":' in stored[1]


def test_times_of_any_zone_are_stored_in_utc(store):
    berlin = timezone(timedelta(hours=1))
    with store.write() as con:
        events.add_predictions(con, [prediction("p-1", ts=NOON.astimezone(berlin))])
        assert con.execute("SELECT ts FROM predictions").fetchone() == (datetime(2026, 11, 22, 12),)


def test_a_bad_line_sent_twice_is_kept_once(store):
    bad = rejected.RejectedEvent(
        kind="predictions", line=3, raw="{不", field="", why="not JSON", at=NOON
    )
    with store.write() as con:
        assert rejected.add(con, [bad, bad]) == 1
        assert rejected.add(con, [bad]) == 0
        assert events.counts(con).rejected == 1


def test_nothing_is_no_batch(store):
    with store.write() as con:
        assert events.add_predictions(con, []).new == 0
        assert events.add_feedback(con, []).new == 0
        assert rejected.add(con, []) == 0


class Watched:
    """A connection that notes what is called of it."""

    def __init__(self, con):
        self.con, self.called = con, []

    def __getattr__(self, name):
        self.called.append(name)
        return getattr(self.con, name)


def test_a_thousand_events_go_in_as_columns_not_one_by_one(store):
    def statements(count):
        """Calls of the database that so many events take."""
        batch = [prediction(f"p-{count}-{i}", arguments={"i": i}) for i in range(count)]
        with store.write() as con:
            watched = Watched(con)
            arrive(watched, batch)
        return watched.called

    assert statements(1000) == statements(10)
    assert "execute" in statements(20)


def test_a_source_goes_on_where_its_events_were_committed(store):
    with store.write() as con:
        assert events.source_cursor(con, "csv") is None
        events.set_source_cursor(con, "csv", "line 7", NOON)
        events.set_source_cursor(con, "csv", "line 9", NOON)

    def commit_nothing():
        with store.write() as con:
            events.add_predictions(con, [prediction("p-1")])
            events.set_source_cursor(con, "csv", "line 10", NOON)
            raise KeyError

    with pytest.raises(KeyError):
        commit_nothing()
    with store.read() as con:
        assert events.source_cursor(con, "csv") == "line 9"
        assert events.counts(con).predictions == 0
