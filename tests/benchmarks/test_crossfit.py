"""Cross-fitted judging beside the sealed golden set: laws that its figures cannot break."""

import pytest


@pytest.mark.slow
def test_crossfitted_judging_is_compared_with_the_sealed_golden_set(figures_of):
    figures = figures_of("crossfit.py")
    assert {"pairs", "missed", "power", "rule", "rules"} <= set(figures)
    rules = figures["rules"]
    assert figures["pairs"] == min(rule["harmful"] for rule in rules.values()) >= 20
    # Eight rows decide nothing, however they come out: 19 are needed without a single loss.
    assert rules["mean_5"]["power"] == 0.0
    assert rules["mean_5"]["missed"] == 0.0
    # A mean passes only where one of its folds does, and the folds' counts together pass sooner.
    assert rules["mean_2"]["power"] <= rules["pooled_2"]["power"]
    assert rules["sealed"]["gap"] == rules["half"]["gap"] == 0.0  # what serves was judged
