from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.errors import NotFound
from flywheel.records import Adapter, Refusal, Sample
from flywheel.store import adapters, open_store, samples
from flywheel.store.samples import refusals

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
OBJECTS = st.dictionaries(st.text(), JSON, max_size=3)


def sample(key: str, **changes) -> Sample:
    given = {
        "id": f"s-{key}",
        "text": f"text {key}",
        "intent": "play",
        "origin": "seed",
        "split": "train",
    }
    return Sample(**(given | changes))


def put(store, *rows, generation=None, bought_for=None, at=None) -> int:
    with store.write() as con:
        return samples.add(con, rows, generation=generation, bought_for=bought_for, at=at)


@settings(max_examples=12)
@given(
    text=st.text(),
    arguments=st.none() | OBJECTS,
    provenance=OBJECTS,
    weight=st.floats(0, 9, width=32),
)
def test_a_sample_comes_back_as_it_went_in(tmp_path_factory, text, arguments, provenance, weight):
    store = open_store(tmp_path_factory.mktemp("db") / "flywheel.duckdb")
    given = sample(
        "歌",
        text=text,
        arguments=arguments,
        provenance=provenance,
        weight=weight,
        must_pass=True,
        family="家",
        slices={"渠道": "语音"},
    )
    assert put(store, given, at=NOON) == 1
    with store.read() as con:
        assert samples.training(con) == [given]
    store.close()


def test_splits_are_kept_apart_and_ordered_by_id(store, now):
    rows = [
        sample("2"),
        sample("1"),
        sample("d", split="dev"),
        sample("f", split="fresh", origin="feedback"),
    ]
    assert put(store, *rows, rows[0], at=now) == 4
    assert put(store, *rows, at=now) == 0
    with store.read() as con:
        assert [s.id for s in samples.training(con)] == ["s-1", "s-2"]
        assert [s.id for s in samples.dev(con)] == ["s-d"]
        assert [s.id for s in samples.fresh(con)] == ["s-f"]
        assert samples.stats(con) == [
            {"split": "dev", "origin": "seed", "intent": "play", "count": 1},
            {"split": "fresh", "origin": "feedback", "intent": "play", "count": 1},
            {"split": "train", "origin": "seed", "intent": "play", "count": 2},
        ]


def test_golden_samples_need_a_generation(store, now):
    with pytest.raises(ValueError, match="1 golden samples without a generation"):
        put(store, sample("g", split="golden"), at=now)


def test_a_generation_lives_from_opening_to_its_seal(store, now):
    with store.read() as con:
        assert samples.current_generation(con) is None
    with store.write() as con:
        assert samples.open_generation(con, now) == 1
        assert samples.current_generation(con) == samples.Generation(
            number=1, seal="", rows=0, queries_used=0, opened_at=now, sealed=False
        )
        samples.reseal(con, 1, "h-1", 2)
        assert samples.current_generation(con) == samples.Generation(
            number=1, seal="h-1", rows=2, queries_used=0, opened_at=now, sealed=True
        )
        with pytest.raises(NotFound, match="no golden generation 4"):
            samples.reseal(con, 4, "h-1", 2)


def test_the_ledger_is_written_before_the_answer_is_read(tmp_path, now):
    path = tmp_path / "flywheel.duckdb"
    store = open_store(path)
    with store.write() as con:
        samples.open_generation(con, now)
        samples.write_query(con, 1, "t-1", "a-2", "overall", now)
    store.close()  # as after a crash: nobody has read the answer
    store = open_store(path)
    with store.read() as con:
        assert samples.current_generation(con).queries_used == 1
        assert samples.queries(con, 1) == [
            {"generation": 1, "turn": "t-1", "challenger": "a-2", "gate": "overall", "at": now}
        ]
    with store.write() as con:  # the step is repeated: the same question is free
        samples.write_query(con, 1, "t-1", "a-2", "overall", now)
        samples.write_query(con, 1, "t-2", "a-3", "overall", now)
        assert samples.current_generation(con).queries_used == 2
        samples.open_generation(con, now)
        samples.write_query(con, 2, "t-3", "a-4", "overall", now)
    with store.read() as con:
        assert [row["turn"] for row in samples.queries(con, 1)] == ["t-1", "t-2"]
        assert samples.current_generation(con).queries_used == 1
    store.close()


def test_rows_added_after_the_first_query_are_bought(store, now):
    before, after = sample("1", split="golden"), sample("2", split="golden")
    asked = sample("3", split="golden")
    with store.write() as con:
        samples.open_generation(con, now)
    assert put(store, before, generation=1, at=now) == 1
    assert put(store, asked, generation=1, bought_for="d-1", at=now) == 1
    with store.write() as con:
        samples.write_query(con, 1, "t-1", "a-2", "overall", now)
    assert put(store, before, after, after, generation=1, at=now) == 1
    with store.read() as con:
        found = [(row.sample.id, row.bought) for row in samples.golden(con)]
    assert found == [("s-1", False), ("s-2", True), ("s-3", True)]


def test_a_sample_may_serve_in_two_generations(store, now):
    shared, old = sample("1", split="golden"), sample("2", split="golden")
    with store.write() as con:
        samples.open_generation(con, now)
    assert put(store, shared, old, generation=1, at=now) == 2
    with store.write() as con:
        samples.open_generation(con, now)
    assert put(store, shared, sample("3"), generation=2, at=now) == 2
    with store.read() as con:
        assert [row.sample for row in samples.golden(con)] == [shared]
        assert [row.sample for row in samples.golden(con, 1)] == [shared, old]
        assert [(row["split"], row["count"]) for row in samples.stats(con)] == [
            ("golden", 1),
            ("train", 1),
        ]


def test_stored_answers_stand_in_for_a_champion_that_cannot_run(store, now):
    with store.write() as con:
        samples.open_generation(con, now)
    put(store, *(sample(k, split="golden") for k in "123"), generation=1, at=now)
    with store.write() as con:
        rows = [("s-1", "play", {"歌": "x"}), ("s-2", "none", None), ("s-1", "stop", None)]
        assert samples.add_answers(con, "production", rows) == 2
        assert samples.add_answers(con, "production", rows) == 0
        assert samples.answers(con, "production") == {
            "s-1": ("play", {"歌": "x"}),
            "s-2": ("none", None),
        }
        assert [row.answer for row in samples.golden(con)] == [None, None, None]
        external = Adapter(
            id="production",
            base="",
            recipe="",
            dataset="",
            parent=None,
            created_at=now,
            state="external",
        )
        adapters.add(con, external)
        adapters.set_champion(con, "production", None, now)
        expected = [
            samples.StoredChoice(intent="play", arguments={"歌": "x"}),
            samples.StoredChoice(intent="none", arguments=None),
            None,
        ]
        assert [row.answer for row in samples.golden(con)] == expected
        answered = samples.golden(con, answered_by="nobody")
        assert [row.answer for row in answered] == [None, None, None]


def test_a_refused_sample_is_kept_with_its_reason_once_a_turn(store, now):
    refused = [
        Refusal(sample=sample("2"), reason="leak", detail="like s-9"),
        Refusal(sample=sample("1", arguments={}), reason="duplicate"),
    ]
    with store.write() as con:
        assert samples.add_refusals(con, "t-1", refused, now) == 2
        assert samples.add_refusals(con, "t-1", refused, now) == 0
        assert samples.add_refusals(con, "t-2", refused[:1], now) == 1
        assert refusals(con, "t-1") == refused
        assert refusals(con, "t-2") == refused[:1]
        assert refusals(con, "t-3") == []


def test_nothing_adds_nothing(store, now):
    assert put(store, at=now) == 0
    with store.write() as con:
        assert samples.add_answers(con, "a", []) == 0
        assert samples.add_refusals(con, "t-1", [], now) == 0
