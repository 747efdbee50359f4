"""Counts, rates, intervals, and paired comparisons of two models. Pure; nothing is rounded."""

from flywheel.metrics.agreement import Agreement, agreement
from flywheel.metrics.evidence import (
    DECISIVE_E,
    harm_f_value,
    labels_to_decide,
    loss_e_value,
    resolvable_margin,
)
from flywheel.metrics.intervals import difference, paired_difference, wilson
from flywheel.metrics.raters import Raters, RaterTally, Vote, judge_raters, often_wrong
from flywheel.metrics.signs import (
    examples_to_detect,
    inferiority_p,
    minimum_detectable_gain,
    superiority_p,
)
from flywheel.metrics.tallies import IntentPair, Tallies

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
