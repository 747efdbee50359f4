"""Skewed traffic does not decide how much an intent weighs in training."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel import datasets
from flywheel.records import Sample


def samples(counts):
    return tuple(
        Sample(
            id=f"s-{intent}-{n}",
            text=f"文本 {intent} {n}",
            intent=intent,
            origin="seed",
            split="train",
        )
        for intent, count in counts.items()
        for n in range(count)
    )


def weight_by_intent(counts, balance):
    _, table = datasets.assemble(datasets.TrainingSet(train=samples(counts), dev=()), balance)
    weights = Counter()
    for row in table.to_pylist():
        weights[row["intent"]] += row["weight"]
    return weights


counts_of = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 40), min_size=1)


@given(counts_of)
def test_evened_out_every_intent_weighs_the_same_in_sum(counts):
    weights = weight_by_intent(counts, 1.0)
    assert max(weights.values()) == pytest.approx(min(weights.values()), rel=1e-3)
    assert sum(weights.values()) == pytest.approx(sum(counts.values()), rel=1e-3)


@given(counts_of)
def test_not_evened_out_every_sample_weighs_one(counts):
    assert weight_by_intent(counts, 0.0) == counts


def test_half_way_lies_between():
    weights = weight_by_intent({"rare": 4, "busy": 16}, 0.5)
    assert weights["busy"] / weights["rare"] == pytest.approx(2.0, rel=1e-3)
