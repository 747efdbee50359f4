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
from flywheel.metrics.error_rates import (
    chance_above,
    e_bh,
    e_threshold,
    error_e_value,
    labels_to_show,
)
from flywheel.metrics.intervals import IntentPair, Tallies, difference, paired_difference, wilson
from flywheel.metrics.paired_tests import (
    DECISIVE_E,
    examples_to_detect,
    harm_f_value,
    inferiority_p,
    labels_to_decide,
    loss_e_value,
    minimum_detectable_gain,
    resolvable_margin,
    superiority_p,
)
from flywheel.metrics.rows_to_decide import fewest_more, fewest_rows, likely_rows, pass_chance
from flywheel.metrics.shifts import shift_p

__all__ = [
    "DECISIVE_E",
    "Agreement",
    "IntentPair",
    "RaterTally",
    "Raters",
    "Tallies",
    "Vote",
    "agreement",
    "chance_above",
    "difference",
    "e_bh",
    "e_threshold",
    "error_e_value",
    "examples_to_detect",
    "fewest_more",
    "fewest_rows",
    "harm_f_value",
    "inferiority_p",
    "judge_raters",
    "labels_to_decide",
    "labels_to_show",
    "likely_rows",
    "loss_e_value",
    "minimum_detectable_gain",
    "often_wrong",
    "paired_difference",
    "pass_chance",
    "resolvable_margin",
    "shift_p",
    "superiority_p",
    "wilson",
]
