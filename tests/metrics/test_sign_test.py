"""The sign test against scipy, and what it says it can see."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from flywheel.metrics import (
    IntentPair,
    examples_to_detect,
    inferiority_p,
    minimum_detectable_gain,
    superiority_p,
)

counts = st.integers(0, 400)


@given(counts, counts)
def test_the_p_value_is_scipys(losses, gains):
    n = losses + gains
    oracle = binomtest(gains, n, 0.5, alternative="greater").pvalue if n else 1.0
    assert superiority_p(losses, gains) == pytest.approx(oracle, rel=1e-9, abs=1e-300)
    assert inferiority_p(gains, losses) == superiority_p(losses, gains)


@given(counts, counts)
def test_a_worse_outcome_never_lowers_the_p_value(losses, gains):
    p = superiority_p(losses, gains)
    assert superiority_p(losses + 1, gains) >= p
    assert gains == 0 or superiority_p(losses, gains - 1) >= p


def test_counts_below_zero_are_refused():
    with pytest.raises(ValueError, match="losses"):
        superiority_p(-1, 2)


def test_two_points_take_the_examples_that_were_measured():
    assert examples_to_detect(0.02, 0.10, 0.10 / 30) == pytest.approx(3158, rel=0.001)
    assert examples_to_detect(0.02, 0.10, 0.05) == pytest.approx(1545, rel=0.001)


@given(st.integers(1, 20_000), st.floats(0, 1), st.floats(0.0001, 0.2))
def test_the_smallest_gain_needs_no_more_examples_than_there_are(n, discordance, alpha):
    gain = minimum_detectable_gain(n, discordance, alpha)
    if math.isinf(gain):
        assert examples_to_detect(1.0, discordance, alpha) > n
    else:
        assert examples_to_detect(gain, discordance, alpha) <= n
        assert gain < 2e-7 or examples_to_detect(gain - 1e-7, discordance, alpha) >= n


@given(st.integers(0, 5_000), st.floats(0, 0.5))
def test_a_larger_golden_set_or_a_looser_level_sees_smaller_gains(n, discordance):
    gain = minimum_detectable_gain(n, discordance, 0.01)
    assert minimum_detectable_gain(n + 100, discordance, 0.01) <= gain
    assert minimum_detectable_gain(n, discordance, 0.05) <= gain


@pytest.mark.parametrize("gain", [0.0, -0.1, 1.1, math.nan])
def test_a_gain_outside_its_range_is_refused(gain):
    with pytest.raises(ValueError, match="gain"):
        examples_to_detect(gain, 0.1, 0.05)


def test_a_pair_that_is_counted_below_zero_is_refused():
    with pytest.raises(ValueError, match="count"):
        IntentPair(predicted="a", truth=None, correct=False, count=-1)
