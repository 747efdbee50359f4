"""Counts by category that moved, by an exact test."""

import random
from collections import Counter

import pytest

from flywheel.metrics import shift_p


def test_what_moved_has_a_small_p_value():
    assert shift_p({"a": 900, "none": 100}, {"a": 160, "none": 40}, 1) < 0.001


def test_the_same_samples_and_seed_give_the_same_value():
    counts = ({"a": 50, "b": 50}, {"a": 20, "b": 30})
    assert shift_p(*counts, 7) == shift_p(*counts, 7)


def test_a_category_that_only_one_sample_has_counts():
    assert shift_p({"a": 500}, {"a": 50, "new": 10}, 3) < 0.001


def test_of_one_category_nothing_can_move():
    values = [shift_p({"a": 50}, {"a": 20}, seed) for seed in range(200)]
    assert 0.4 < sum(values) / 200 < 0.6  # ties, broken by lot


@pytest.mark.parametrize(("reference", "recent"), [({}, {"a": 1}), ({"a": 1}, {})])
def test_an_empty_sample_is_refused(reference, recent):
    with pytest.raises(ValueError, match="no members"):
        shift_p(reference, recent, 0)


def test_where_nothing_moved_a_share_of_five_in_a_hundred_is_below_five_in_a_hundred():
    draws = random.Random(3)
    below = 0
    for seed in range(400):
        made = draws.choices("abcde", weights=(50, 20, 10, 2, 1), k=250)
        below += shift_p(Counter(made[:200]), Counter(made[200:]), seed) <= 0.05
    assert 8 <= below <= 33  # 20, and three standard errors
