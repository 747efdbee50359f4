"""Is an error rate above a bound? An e-value for one rate, and e-BH over many. Pure.

An e-value is a bet whose expectation is at most 1 while the rate is at or below the bound, at any
sample size. So labels may be added one by one, and the next one may be asked where it tells most.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from flywheel.metrics.distributions import betainc

_REACH = (0.1, 0.2, 0.35, 0.5, 0.65, 0.85)
"""Alternatives that the bet is spread over: the bound, plus these shares of the way to 1."""
_LARGEST_LOG = 700.0
_PRIOR_ERRORS, _PRIOR_RIGHTS = 0.5, 1.0  # of the Beta prior of a rate


def error_e_value(errors: int, n: int, bound: float) -> float:
    """Return the e-value against "the error rate is at most `bound`"; 1 without labels.

    The mean of likelihood ratios of larger rates to `bound`; each grows with `errors`, so its
    expectation under a smaller rate is smaller still.

    Args:
        errors: 0..n.
        n: labels, drawn by lot. Where some errors are not known and count as right, the value is
            smaller: it stays valid.
        bound: 0..1; at 0 any error refutes, at 1 nothing does.

    Raises:
        ValueError: `errors` is not in 0..n, or `bound` not in 0..1.

    Source: Wald 1945 (likelihood ratios); Grünwald, de Heide and Koolen 2024, JRSS B 86.

    >>> [round(error_e_value(errors, 5, 0.10), 1) for errors in (0, 1, 3)]
    [0.2, 0.6, 24.2]
    """
    if not 0 <= errors <= n or not 0 <= bound <= 1:
        raise ValueError(f"{errors} errors in {n}, bound {bound}")
    if not n or bound == 1:
        return 1.0
    if bound == 0:
        return math.exp(_LARGEST_LOG) if errors else 1.0
    logs = [
        errors * math.log(rate / bound) + (n - errors) * math.log((1 - rate) / (1 - bound))
        for rate in (bound + share * (1 - bound) for share in _REACH)
    ]
    largest = max(logs)
    total = math.fsum(math.exp(log - largest) for log in logs) / len(logs)
    return math.exp(min(_LARGEST_LOG, largest + math.log(total)))


def e_threshold(hypotheses: int, rejected: int, level: float) -> float:
    """Return the e-value that e-BH asks of each of `rejected` hypotheses; at least one is meant."""
    return hypotheses / (level * max(1, rejected))


def e_bh(e_values: Mapping[str, float], level: float) -> frozenset[str]:
    """Return the names whose null hypotheses are refuted at a false discovery rate of `level`.

    It holds whatever the dependence of the e-values, and where labels were asked adaptively.

    Source: Wang and Ramdas 2022, JRSS B 84; Xu, Wang and Ramdas 2021, NeurIPS (adaptive sampling).

    >>> sorted(e_bh({"a": 200.0, "b": 15.0, "c": 0.4}, 0.10))
    ['a', 'b']
    """
    ranked = sorted(e_values.values(), reverse=True)
    rejected = max(
        (
            rank
            for rank, value in enumerate(ranked, 1)
            if value >= e_threshold(len(ranked), rank, level)
        ),
        default=0,
    )
    if not rejected:
        return frozenset()
    needed = e_threshold(len(ranked), rejected, level)
    return frozenset(name for name, value in e_values.items() if value >= needed)


def chance_above(errors: float, n: float, rate: float) -> float:
    """Return the posterior probability that an error rate is above `rate`, 0..1.

    The prior is Beta(1/2, 1). It chooses what to ask next and is no evidence.

    >>> round(chance_above(0, 0, 0.25), 2), round(chance_above(0, 8, 0.25), 3)
    (0.5, 0.025)
    """
    return 1.0 - betainc(_PRIOR_ERRORS + errors, _PRIOR_RIGHTS + n - errors, rate)


def labels_to_show(e_value: float, needed: float, rate: float, bound: float) -> int:
    """Return the expected number of further labels until an error rate of `rate` is shown.

    Args:
        e_value: of the labels so far.
        needed: of `e_threshold`.
        rate: the assumed error rate, above `bound`.
        bound: of `error_e_value`, above 0.

    Raises:
        ValueError: `rate` is not above `bound`, or one of them not between 0 and 1.

    >>> labels_to_show(1.0, 150.0, 0.4, 0.1)
    17
    """
    if not 0 < bound < rate < 1:
        raise ValueError(f"rate {rate}, bound {bound}")
    if e_value >= needed:
        return 0
    growth = rate * math.log(rate / bound) + (1 - rate) * math.log((1 - rate) / (1 - bound))
    missing = math.log(needed) - math.log(max(e_value, math.exp(-_LARGEST_LOG)))
    return math.ceil(missing / growth)
