"""Counts, rates, intervals, and paired comparisons of two models. Pure; nothing is rounded."""

from flywheel.metrics.agreement import (
    Agreement,
    Raters,
    RaterTally,
    Vote,
    agreement,
    judge_raters,
    often_wrong,
)
from flywheel.metrics.e_values import (
    DECISIVE_E,
    harm_f_value,
    labels_to_decide,
    loss_e_value,
    resolvable_margin,
)
from flywheel.metrics.intervals import IntentPair, Tallies, difference, paired_difference, wilson
from flywheel.metrics.sign_test import (
    examples_to_detect,
    inferiority_p,
    minimum_detectable_gain,
    superiority_p,
)

__all__ = [
    "DECISIVE_E",
    "Agreement",
    "IntentPair",
    "RaterTally",
    "Raters",
    "Tallies",
    "Vote",
    "agreement",
    "difference",
    "examples_to_detect",
    "harm_f_value",
    "inferiority_p",
    "judge_raters",
    "labels_to_decide",
    "loss_e_value",
    "minimum_detectable_gain",
    "often_wrong",
    "paired_difference",
    "resolvable_margin",
    "superiority_p",
    "wilson",
]
