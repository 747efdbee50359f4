"""E-values of error rates, and e-BH."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.metrics import chance_above, e_bh, e_threshold, error_e_value, labels_to_show

bounds = st.floats(0.02, 0.5)
counts = st.integers(0, 40).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(st.integers(0, 12), bounds, st.floats(0, 1))
def test_while_the_rate_is_tolerated_the_e_value_is_expected_to_be_at_most_one(n, bound, part):
    rate = bound * part
    expected = math.fsum(
        math.comb(n, k) * rate**k * (1 - rate) ** (n - k) * error_e_value(k, n, bound)
        for k in range(n + 1)
    )
    assert expected <= 1 + 1e-9


@given(counts, bounds)
def test_an_error_more_is_never_less_evidence_and_a_right_answer_more_is_never_more(count, bound):
    errors, n = count
    value = error_e_value(errors, n, bound)
    assert error_e_value(errors + 1, n + 1, bound) >= value
    assert error_e_value(errors, n + 1, bound) <= value


def test_one_wrong_answer_of_one_shows_nothing_and_four_of_five_do():
    assert error_e_value(1, 1, 0.10) < 10
    assert error_e_value(4, 5, 0.10) > 150


@pytest.mark.parametrize(
    ("errors", "n", "bound", "value"),
    [(0, 0, 0.1, 1.0), (3, 9, 1.0, 1.0), (0, 9, 0.0, 1.0), (1, 9, 0.0, math.exp(700))],
)
def test_the_edges_of_the_e_value(errors, n, bound, value):
    assert error_e_value(errors, n, bound) == value


def test_impossible_counts_and_rates_are_refused():
    with pytest.raises(ValueError, match="4 errors in 3"):
        error_e_value(4, 3, 0.1)
    with pytest.raises(ValueError, match=r"rate 0\.1, bound 0\.1"):
        labels_to_show(1.0, 20.0, 0.1, 0.1)


@given(st.dictionaries(st.integers(0, 30).map(str), st.floats(0, 1e4), max_size=15))
def test_what_e_bh_names_has_larger_e_values_than_what_it_leaves(e_values):
    named = e_bh(e_values, 0.10)
    left = [value for name, value in e_values.items() if name not in named]
    assert all(e_values[name] > max(left, default=-1) for name in named)
    assert all(e_values[name] >= e_threshold(len(e_values), len(named), 0.10) for name in named)


def test_a_little_evidence_of_many_counts_for_each():
    alone = {f"i-{n}": 0.0 for n in range(14)} | {"bad": 60.0}
    together = {f"i-{n}": 60.0 for n in range(3)} | {f"j-{n}": 0.0 for n in range(12)}
    assert e_bh(alone, 0.10) == frozenset()
    assert e_bh(together, 0.10) == {"i-0", "i-1", "i-2"}
    assert e_bh({}, 0.10) == frozenset()


def test_no_more_labels_are_needed_once_it_is_shown():
    assert labels_to_show(200.0, 150.0, 0.4, 0.1) == 0
    assert labels_to_show(1.0, 150.0, 0.8, 0.1) < labels_to_show(1.0, 150.0, 0.3, 0.1)


@given(counts, st.floats(0.01, 0.9))
def test_the_chance_of_a_bad_rate_grows_with_errors(count, rate):
    errors, n = count
    assert 0 <= chance_above(errors, n, rate) <= chance_above(errors + 1, n + 1, rate) + 1e-12
