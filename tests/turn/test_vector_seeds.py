"""Which texts an adapter carries: seeds of the operator, and nothing that is a person's."""

import pytest

from flywheel.records import Sample
from flywheel.turn.train import _vector_seeds


def sample(text, intent="joke", *, origin="seed", **provenance):
    return Sample(
        id=f"s-{text}", text=text, intent=intent, origin=origin, split="train",
        provenance=provenance,
    )  # fmt: skip


@pytest.mark.parametrize("origin", ["feedback", "teacher", "person"])
def test_only_seeds_are_taken(origin):
    assert _vector_seeds([sample("tell me a joke", origin=origin)]) == []


@pytest.mark.parametrize("of", ["prediction", "rater", "item", "session", "brief", "anything"])
def test_a_seed_that_came_from_somewhere_else_is_not_taken(of):
    texts = [sample("tell me a joke"), sample("my own words", **{of: "p-1"})]
    assert _vector_seeds(texts) == ["tell me a joke"]


def test_intents_take_turns_and_no_more_are_taken_than_are_needed():
    texts = [sample(f"{intent}{n:03}", intent) for intent in "ba" for n in range(200)]
    taken = _vector_seeds(texts)
    assert taken[:4] == ["a000", "b000", "a001", "b001"]
    assert len(taken) == 200
    assert _vector_seeds(list(reversed(texts))) == taken
