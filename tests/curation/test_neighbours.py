"""The near-duplicate search finds what comparing all pairs finds, only sooner."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.curation import Near, duplicates, near_duplicates
from tests.fakes.brute_force import similarity

WORDS = ["please", "set", "an", "alarm", "for", "seven", "at", "the", "music,", "play!", "off"]
english = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)
chinese = st.text(alphabet="我要听音乐把闹钟关掉，。 ", max_size=12)
texts = st.lists(st.one_of(english, chinese), max_size=12)
thresholds = st.one_of(
    st.sampled_from([0.1, 0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95, 1.0]),
    st.floats(min_value=0.01, max_value=1.0),
)


@given(texts, texts, thresholds)
def test_the_search_finds_every_pair_that_brute_force_finds(some, others, threshold):
    brute = [
        Near(i, j, similarity(one, other))
        for i, one in enumerate(some)
        for j, other in enumerate(others)
        if similarity(one, other) >= threshold
    ]
    assert near_duplicates(some, others, threshold) == brute


@given(texts, thresholds, thresholds)
def test_a_stricter_threshold_never_finds_more(some, one, other):
    loose, strict = sorted((one, other))
    assert set(near_duplicates(some, some, strict)) <= set(near_duplicates(some, some, loose))


@given(texts, texts, thresholds)
def test_the_search_is_symmetric(some, others, threshold):
    there = {(near.i, near.j) for near in near_duplicates(some, others, threshold)}
    back = {(near.j, near.i) for near in near_duplicates(others, some, threshold)}
    assert there == back


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.01, float("nan")])
def test_a_threshold_out_of_range_is_refused(threshold):
    with pytest.raises(ValueError, match="threshold"):
        near_duplicates(["a"], ["a"], threshold)


def test_few_of_the_pairs_of_many_texts_are_compared(monkeypatch):
    compared = []
    measure = duplicates.jaccard
    monkeypatch.setattr(duplicates, "jaccard", lambda *sets: compared.append(1) or measure(*sets))
    chance = random.Random(0)
    words = [f"w{int(chance.paretovariate(0.6)) % 4000}" for _ in range(200_000)]
    made = [" ".join(chance.choices(words, k=chance.randint(3, 14))) for _ in range(20_000)]
    near_duplicates(made[:15_000], made[15_000:], 0.8)
    assert len(compared) * 50 < 15_000 * 5_000
