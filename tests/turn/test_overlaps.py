"""Samples that are never learned, since they are near what judges, are named when they come."""

import dataclasses

import msgspec
import pytest
from runtimes import runtime_in, sample

from flywheel.intake import accept
from flywheel.turn import add_samples

TEXT = "wake me at seven tomorrow morning please"


@pytest.fixture
def runtime(tmp_path):
    with_store = runtime_in(tmp_path)
    yield with_store
    with_store.store.close()


def add(runtime, *rows):
    return add_samples(runtime, [sample(*row) for row in rows], by="ana")["overlaps"]


def places(pairs):
    return [(p["sample"], p["near"], p["split"], p["similarity"], p["text"]) for p in pairs]


def test_a_seed_near_a_golden_sample_is_named_whichever_came_first(runtime):
    seed, golden = (TEXT, "set_alarm", "train"), (f"{TEXT}!", "set_alarm", "golden")
    expected = (sample(*seed).sample.id, sample(*golden).sample.id, "golden", 1.0, f"{TEXT}!")
    assert add(runtime, seed) == []
    assert places(add(runtime, golden)) == [expected]
    assert places(add(runtime, seed)) == [expected]  # sent again: it still is not learned


def test_a_near_text_counts_from_the_configured_likeness_on(runtime):
    add(runtime, ("one two three four five", "set_alarm", "dev"))
    (pair,) = add(
        runtime,
        ("one two three four", "set_timer", "train"),  # 4 of 5 words
        ("one two three", "set_timer", "train"),  # 3 of 5
    )
    assert (pair["similarity"], pair["split"]) == (0.8, "dev")
    assert (pair["intent"], pair["near_intent"]) == ("set_timer", "set_alarm")


def test_both_lines_are_named_where_both_came_at_once(runtime):
    body = b"""
{"text": "wake me", "intent": "set_alarm", "split": "golden"}
{"text": "set an egg timer", "intent": "set_timer", "split": "seed"}
{"text": "Wake me!", "intent": "set_alarm", "split": "seed"}
"""
    receipt = accept(runtime, "samples", body, by="ana")
    assert receipt.accepted == 3
    assert [(pair.line, pair.near_line, pair.text) for pair in receipt.overlaps] == [
        (4, 2, "wake me")
    ]


def test_what_a_teacher_wrote_is_not_told_of(runtime):
    add(runtime, (TEXT, "set_alarm", "golden"))
    written = dataclasses.replace(
        sample(TEXT, "set_alarm", "train"),
        sample=msgspec.structs.replace(sample(TEXT, "set_alarm", "train").sample, origin="teacher"),
    )
    assert add_samples(runtime, [written], by="ana")["overlaps"] == []
