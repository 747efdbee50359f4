"""Paired tests: the sign test against scipy, and the laws that make the bets e-values."""

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.metrics import (
    IntentPair,
    examples_to_detect,
    harm_f_value,
    inferiority_p,
    labels_to_decide,
    loss_e_value,
    minimum_detectable_gain,
    resolvable_margin,
    superiority_p,
)

counts = st.integers(0, 400)
margins = st.floats(0.05, 0.95)
units = st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.0, 0.0, 0.25, 1.0]), max_size=60)


@given(counts, counts)
def test_the_p_value_is_scipys(losses, gains):
    from scipy.stats import binomtest  # takes a second, in each process that runs tests

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


def line(n, losses, gains):
    return [-1] * losses + [1] * gains + [0] * (n - losses - gains)


@pytest.mark.parametrize(
    ("n", "losses", "gains", "e", "f", "labels"),
    [
        (30, 4, 1, 1.24, 0.906, 21),
        (30, 1, 0, 26.7, None, 0),
        (10, 0, 0, 4.65, None, 11),
        (40, 3, 0, 8.06, None, None),
    ],
)
def test_the_worked_lines_hold_to_three_figures(n, losses, gains, e, f, labels):
    found = loss_e_value(line(n, losses, gains), 0.20)
    assert float(f"{found:.3g}") == e
    if f is not None:
        assert float(f"{harm_f_value(line(n, losses, gains)):.3g}") == f
    if labels is not None:
        assert labels_to_decide(found, 0.20) == labels


def test_the_formulas_of_the_specification_are_what_is_computed():
    n, b, c, m, h = 30, 4, 1, 0.20, 0.05
    kappa = (m - 0.04) / (m * (1 - m))
    e = [
        (1 - s * (1 - m)) ** b * (1 + s * m) ** (n - b - c) * (1 + s * (1 + m)) ** c
        for s in (0.6 * kappa, kappa)
    ]
    f = [
        (1 + s * (1 - h)) ** b * (1 - s * h) ** (n - b - c) * (1 - s * (1 + h)) ** c
        for s in (0.3, 0.6, 0.85)
    ]
    assert loss_e_value(line(n, b, c), m) == pytest.approx(sum(e) / 2)
    assert harm_f_value(line(n, b, c), h) == pytest.approx(sum(f) / 3)


def test_forty_clean_examples_decide_at_thirty_points_where_twenty_stay_open():
    assert loss_e_value(line(40, 3, 0), 0.20) < 20 <= loss_e_value(line(40, 3, 0), 0.30)


@given(st.integers(1, 5), margins, st.floats(0, 1))
def test_at_the_margin_the_bet_is_fair(n, margin, spread):
    # any distribution on {-1, 0, 1} with mean -margin: the expected e-value is exactly 1
    gain = spread * (1 - margin) / 2
    p = {-1: margin + gain, 1: gain, 0: 1 - margin - 2 * gain}
    expected = sum(
        math.prod(p[x] for x in path) * loss_e_value(path, margin) for path in product(p, repeat=n)
    )
    assert expected == pytest.approx(1)


@pytest.mark.parametrize(("lost", "gained"), [(0.20, 0.0), (0.22, 0.02), (0.25, 0.05), (0.6, 0.4)])
def test_stopping_at_the_best_moment_passes_a_harmed_intent_in_at_most_one_case_of_twenty(
    lost, gained
):
    # walk over all counts of (losses, gains), absorbing where the e-value first reaches 20
    margin, passed, walks = lost - gained, 0.0, {(0, 0): 1.0}
    for n in range(1, 131):
        following: dict[tuple[int, int], float] = {}
        for (b, c), p in walks.items():
            for key, q in (((b + 1, c), lost), ((b, c + 1), gained), ((b, c), 1 - lost - gained)):
                if p * q > 1e-9:
                    following[key] = following.get(key, 0.0) + p * q
        walks = {}
        for (b, c), p in following.items():
            if loss_e_value({-1: b, 1: c, 0: n - b - c}, margin) >= 20:
                passed += p
            else:
                walks[b, c] = p
    assert passed <= 0.05


@given(units, margins)
def test_order_and_counting_say_the_same(xs, margin):
    counted = {x: xs.count(x) for x in set(xs)}
    assert loss_e_value(xs, margin) == loss_e_value(xs[::-1], margin)
    assert loss_e_value(xs, margin) == loss_e_value(counted, margin)
    assert harm_f_value(xs) == harm_f_value(counted)


@given(units.filter(bool), margins, st.data())
def test_a_worse_unit_lowers_e_and_raises_f(xs, margin, data):
    place = data.draw(st.integers(0, len(xs) - 1))
    worse = [*xs[:place], data.draw(st.floats(-1, xs[place])), *xs[place + 1 :]]
    assert loss_e_value(worse, margin) <= loss_e_value(xs, margin) * (1 + 1e-12)
    assert harm_f_value(worse) >= harm_f_value(xs) * (1 - 1e-12)


@given(st.integers(0, 200), st.integers(0, 30), st.integers(0, 30), margins, margins)
def test_a_stricter_margin_never_passes_more(equal, losses, gains, one, other):
    strict, loose = sorted((one, other))
    counts = {-1: losses, 0: equal, 1: gains}
    assert loss_e_value(counts, strict) < 20 or loss_e_value(counts, loose) >= 20 * (1 - 1e-9)


def test_no_evidence_is_worth_one():
    assert loss_e_value([], 0.2) == harm_f_value([]) == 1


@pytest.mark.parametrize("margin", [0.04, 0.0, -0.1, 1.0, math.nan])
def test_a_margin_that_nothing_can_show_is_refused(margin):
    with pytest.raises(ValueError, match="margin"):
        loss_e_value([], margin)
    with pytest.raises(ValueError, match="margin"):
        labels_to_decide(1.0, margin)


@pytest.mark.parametrize("x", [math.nan, -1.5, 2.0, math.inf])
def test_a_unit_outside_its_range_is_refused(x):
    with pytest.raises(ValueError, match="unit"):
        loss_e_value([0.0, x], 0.2)
    with pytest.raises(ValueError, match="unit"):
        harm_f_value([x])


def test_a_harm_tolerance_beyond_the_stakes_is_refused():
    with pytest.raises(ValueError, match="h is"):
        harm_f_value([], h=0.5)


def test_huge_samples_saturate_instead_of_overflowing():
    assert math.isfinite(loss_e_value({0: 10**7}, 0.2))
    assert loss_e_value({-1: 10**7}, 0.2) == 0
    assert labels_to_decide(0.0, 0.2) > 1000


def test_unharmed_intents_need_about_the_labels_that_were_measured():
    assert [labels_to_decide(1, margin) for margin in (0.10, 0.20, 0.30)] == [67, 23, 13]


@given(st.integers(0, 400))
def test_more_examples_never_resolve_less(n):
    fewer, more = resolvable_margin(n), resolvable_margin(n + 1)
    assert fewer is None or (more is not None and more <= fewer)
