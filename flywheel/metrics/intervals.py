"""Confidence intervals of rates and of differences of rates, and the counts behind them.

Rates and bounds are fractions, never percent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import NormalDist

_NORMAL = NormalDist()


def wilson(errors: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval of the rate `errors / n`; (0, 1) when n is 0.

    Args:
        errors: 0..n.
        n: trials.
        confidence: two-sided, between 0 and 1.

    Raises:
        ValueError: `errors` is not in 0..n, or `confidence` not in (0, 1).

    Source: Wilson 1927, JASA 22.

    >>> [round(bound, 4) for bound in wilson(10, 100)]
    [0.0552, 0.1744]
    """
    if not 0 <= errors <= n:
        raise ValueError(f"{errors} errors in {n}")
    z = _two_sided(confidence)
    if n == 0:
        return 0.0, 1.0
    rate = errors / n
    centre = rate + z * z / (2 * n)
    spread = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low = 0.0 if errors == 0 else max(0.0, (centre - spread) / scale)
    high = 1.0 if errors == n else min(1.0, (centre + spread) / scale)
    return low, high


def difference(
    errors_before: int, n_before: int, errors_after: int, n_after: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Return Newcombe's interval of `after - before` for two independent rates.

    (-1, 1) when either side has no trials.

    Raises:
        ValueError: as `wilson`.

    Source: Newcombe 1998, Statistics in Medicine 17, method 10.
    """
    low_before, high_before = wilson(errors_before, n_before, confidence)
    low_after, high_after = wilson(errors_after, n_after, confidence)
    if n_before == 0 or n_after == 0:
        return -1.0, 1.0
    before, after = errors_before / n_before, errors_after / n_after
    gap = after - before
    return (
        gap - math.hypot(after - low_after, high_before - before),
        gap + math.hypot(high_after - after, before - low_before),
    )


def paired_difference(
    losses: int, gains: int, n: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Return an interval of `(gains - losses) / n` where both models answered the same n units.

    (-1, 1) when n is 0.

    Raises:
        ValueError: more losses and gains than units.

    Source: Agresti and Min 2005, Statistics in Medicine 24 (half a unit added to each cell).
    """
    if losses < 0 or gains < 0 or losses + gains > n:
        raise ValueError(f"{losses} losses and {gains} gains among {n} units")
    z = _two_sided(confidence)
    if n == 0:
        return -1.0, 1.0
    size = n + 2
    gap = gains - losses
    spread = z * math.sqrt(losses + gains + 1 - gap * gap / size)
    return max(-1.0, (gap - spread) / size), min(1.0, (gap + spread) / size)


def _two_sided(confidence: float) -> float:
    """The normal quantile of a two-sided interval."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}, not between 0 and 1")
    return _NORMAL.inv_cdf((1 + confidence) / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentPair:
    """Count of labelled predictions with one predicted intent and one true intent."""

    predicted: str
    truth: str | None  # None: judged incorrect, and no rater gave the true intent
    correct: bool  # False also where only the arguments were wrong
    count: int  # 0 or more

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError(f"pair {self.predicted}/{self.truth}: `count` is {self.count}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tallies:
    """Predictions and labels of production over one window of time."""

    volume: Mapping[str, int] = field(default_factory=dict)  # predictions by predicted intent
    pairs: tuple[IntentPair, ...] = ()  # labelled predictions
