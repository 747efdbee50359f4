"""Feedback finds its prediction by any of its names, in whatever order events arrive."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from flywheel.records import Call, Feedback, Prediction
from flywheel.store import consistency, erasure, events, health, open_store, rejected, schema
from flywheel.store.erasure import Person
from flywheel.store.rejected import RejectedEvent

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
CALLED = Prediction(id="inner", ts=NOON, text="wake me", intent="set_alarm")


def answer(name, **fields):
    return replace(CALLED, id=name, **fields)


def verdict(name, target, verdict="incorrect", **fields):
    return Feedback(id=name, prediction_id=target, ts=NOON, verdict=verdict, **fields)


def add(con, event):
    if isinstance(event, Prediction):
        events.add_predictions(con, [event])
    else:
        events.add_feedback(con, [event])


@pytest.fixture
def con(tmp_path):
    store = open_store(tmp_path / "f.duckdb")
    with store.write() as opened:
        yield opened
    store.close()


def judged(con):
    return con.execute(
        "SELECT feedback_id, prediction_id, predicted, intent, part FROM judged ORDER BY ALL"
    ).fetchall()


def volume(con):
    return dict(
        con.execute(
            "SELECT intent, sum(predictions)::BIGINT FROM daily GROUP BY ALL "
            "HAVING sum(predictions) <> 0 ORDER BY ALL"
        ).fetchall()
    )


@pytest.mark.parametrize("target", ["inner", "resp-1", "span-1", "trace-1"])
@pytest.mark.parametrize("early", [True, False])
def test_feedback_finds_its_prediction_by_any_name_early_or_late(con, target, early):
    prediction = answer("inner", aliases=("resp-1", "span-1", "trace-1"))
    parts = [verdict("f-1", target), prediction]
    for event in parts if early else reversed(parts):
        add(con, event)
    assert judged(con) == [("f-1", "inner", "set_alarm", None, 0)]
    assert consistency.differences(con) == []


def test_an_alias_of_two_exchanges_names_neither_and_an_id_goes_before_an_alias(con):
    add(con, verdict("f-1", "trace-1"))
    add(con, answer("a", aliases=("trace-1", "b")))
    assert judged(con) == [("f-1", "a", "set_alarm", None, 0)]
    add(con, answer("b", aliases=("trace-1",)))
    assert judged(con) == []
    add(con, verdict("f-2", "b"))
    assert judged(con) == [("f-2", "b", "set_alarm", None, 0)]
    assert events.counts(con).waiting_feedback == 1
    assert consistency.differences(con) == []


def test_of_the_records_of_one_exchange_the_best_counts_under_all_their_names(con):
    outer = answer("outer", intent="none", exchange="x", precedence=10, aliases=("trace-1",))
    inner = answer("inner", exchange="x", precedence=130, aliases=("trace-1",))
    add(con, outer)
    add(con, verdict("f-1", "outer"))
    assert (volume(con), judged(con)) == ({"none": 1}, [("f-1", "outer", "none", None, 0)])
    add(con, inner)
    assert (volume(con), judged(con)) == (
        {"set_alarm": 1},
        [("f-1", "inner", "set_alarm", None, 0)],
    )
    assert events.counts(con).predictions == 1
    assert consistency.differences(con) == []


EVENTS = [
    answer("outer", intent="none", exchange="x", precedence=10, aliases=("trace-1", "span-0")),
    answer("inner", exchange="x", precedence=130, aliases=("trace-1", "span-1")),
    answer("late", exchange="x", precedence=130, ts=NOON + timedelta(hours=1)),
    answer("other", text="stop", intent="stop", exchange="y", aliases=("trace-1", "late")),
    answer("plain", intent="play_music"),
    answer("both", calls=(Call("set_alarm", {}), Call("stop", {}))),
    *(
        verdict(f"f-{target}", target, rater=f"u-{target}")
        for target in ("outer", "inner", "trace-1", "span-0", "late", "other", "plain")
    ),
    verdict("f-both", "both", "corrected", intent="stop", arguments={}),
    verdict("f-again", "span-1", "correct"),
    Feedback(
        id="f-two", prediction_id="plain", ts=NOON, verdict="corrected", intent="stop",
        arguments={}, calls=(Call("stop", {}), Call("play_music", {})),
    ),
]  # fmt: skip


def state(folder, batches):
    """What the batches leave, in words that do not depend on their order."""
    store = open_store(folder / "f.duckdb")
    for batch in batches:
        with store.write() as con:
            events.add_predictions(con, [e for e in batch if isinstance(e, Prediction)])
            events.add_feedback(con, [e for e in batch if isinstance(e, Feedback)])
    with store.read() as con:
        found = schema.fingerprints(con), volume(con), consistency.differences(con)
    store.close()
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What all events leave in one batch, in the order in which they stand."""
    return state(tmp_path_factory.mktemp("whole"), [EVENTS])


@settings(max_examples=6)
@given(st.permutations(EVENTS), st.lists(st.integers(1, len(EVENTS)), max_size=3))
def test_any_order_and_any_batches_end_in_the_same_database(
    tmp_path_factory, whole, shuffled, cuts
):
    edges = [0, *sorted(set(cuts)), len(EVENTS)]
    batches = [shuffled[a:b] for a, b in itertools.pairwise(edges)]
    assert state(tmp_path_factory.mktemp("db"), batches) == whole
    assert whole[2] == []


@pytest.mark.parametrize(
    ("said", "pairs"),
    [
        ({"verdict": "correct"}, [("set_alarm", None), ("play_music", None)]),
        ({"verdict": "incorrect"}, [("set_alarm", None), ("play_music", None)]),
        (
            {"verdict": "corrected", "intent": "play_music"},
            [("play_music", "play_music"), ("set_alarm", "none")],
        ),
        (
            {"verdict": "corrected", "intent": "none"},
            [("set_alarm", "none"), ("play_music", "none")],
        ),
        (
            {
                "verdict": "corrected",
                "intent": "stop",
                "calls": (Call("stop"), Call("set_alarm"), Call("play_music")),
            },
            [("set_alarm", "set_alarm"), ("play_music", "play_music"), ("none", "stop")],
        ),
    ],
)
def test_a_verdict_on_several_calls_counts_under_each(con, said, pairs):
    add(con, answer("p", calls=(Call("set_alarm", {"time": "6"}), Call("play_music", {}))))
    add(con, verdict("f", "p", **said))
    assert [row[2:4] for row in sorted(judged(con), key=lambda row: row[4])] == pairs
    assert volume(con) == {"set_alarm": 1, "play_music": 1}
    assert events.counts(con).labelled == 1
    assert consistency.differences(con) == []
    assert health.labelled_texts(con, ()) == []  # one text, several calls: no label of an intent


def test_a_session_a_rater_and_all_names_of_an_exchange_are_erased_with_rejected_lines(con):
    spoken = {"session": "s-9", "rater": "u-9", "exchange": "x"}
    add(con, answer("outer", intent="none", precedence=1, **spoken))
    add(con, answer("inner", precedence=2, aliases=("span-1",), **spoken))
    add(con, answer("other", text="stop"))
    add(con, verdict("f-1", "span-1"))
    kept = RejectedEvent(kind="predictions", line=1, raw='{"a": 1}', field="", why="w", at=NOON)
    named = '{"ts": "bad", "slices": {"session": "s-9"}}'
    latin = "eyJzZXNzaW9uIjogInMtOSIsICJ0ZXh0IjogIuk="  # {"session": "s-9", "text": "\xe9
    lines = [
        {"raw": kept.raw, "encoding": ""},
        {"raw": named, "encoding": ""},
        {"raw": latin, "encoding": "base64"},
    ]
    fields = {"kind": "predictions", "line": 1, "field": "", "why": "w", "at": NOON}
    rejected.add(con, [RejectedEvent(**fields, **line) for line in lines])
    found = erasure.traces(con, Person(session="s-9"))
    erasure.remove(con, found)
    assert erasure.left(con, found) == {}
    assert [line.raw for line in rejected.listed(con)] == [kept.raw]
    assert (events.counts(con).predictions, volume(con)) == (1, {"set_alarm": 1})
    assert con.execute("SELECT * FROM aliases").fetchall() == []
    assert consistency.differences(con) == []
