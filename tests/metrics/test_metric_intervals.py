"""Intervals against their textbook values and scipy's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.metrics import difference, paired_difference, wilson


@given(st.integers(0, 300), st.data(), st.floats(0.5, 0.999))
def test_wilson_agrees_with_scipy(n, data, confidence):
    errors = data.draw(st.integers(0, n))
    if n == 0:
        assert wilson(0, 0, confidence) == (0.0, 1.0)
        return
    from scipy.stats import binomtest  # takes a second, in each process that runs tests

    oracle = binomtest(errors, n).proportion_ci(confidence, "wilson")
    assert wilson(errors, n, confidence) == pytest.approx((oracle.low, oracle.high), abs=1e-9)


@pytest.mark.parametrize(("errors", "n", "confidence"), [(-1, 3, 0.9), (4, 3, 0.9), (1, 3, 1.0)])
def test_wilson_refuses_nonsense(errors, n, confidence):
    with pytest.raises(ValueError, match=r"errors|confidence"):
        wilson(errors, n, confidence)


def test_newcombe_gives_the_published_interval():
    # Newcombe 1998, table II (a), method 10: 56/70 - 48/80
    low, high = difference(48, 80, 56, 70, 0.95)
    assert (round(low, 4), round(high, 4)) == (0.0524, 0.3339)


def test_the_difference_of_nothing_is_unknown():
    assert difference(0, 0, 3, 10) == (-1.0, 1.0)
    assert paired_difference(0, 0, 0) == (-1.0, 1.0)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 200))
def test_the_paired_interval_holds_its_estimate_and_mirrors(losses, gains, equal):
    n = losses + gains + equal
    low, high = paired_difference(losses, gains, n)
    mirrored = paired_difference(gains, losses, n)
    assert -1 <= low <= high <= 1
    assert mirrored == pytest.approx((-high, -low))
    if n:
        assert low <= (gains - losses) / n <= high or n < 3


def test_the_paired_interval_refuses_more_changes_than_units():
    with pytest.raises(ValueError, match="among"):
        paired_difference(3, 3, 5)
