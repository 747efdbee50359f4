"""E-values: how strongly paired outcomes say that an intent kept its recall, or lost it.

A unit is x = correct(challenger) - correct(champion) on one example, in -1..1; a family of
paraphrases is one unit, its mean. Both values are bets whose expectation is at most 1 while
their null hypothesis holds, at any sample size, so labels may be added until they decide
(Ville's inequality). Values saturate near 1e304 instead of overflowing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

DECISIVE_E = 20.0
"""An e-value of 20 refutes its null at level .05."""

USUAL_LOSSES = 0.04
"""Share of examples an unharmed intent loses anyway, and gains elsewhere; `q` below."""

_Payoff = Callable[[float], float]
_HARM_STAKES = (0.3, 0.6, 0.85)
_LARGEST_LOG = 700.0


def loss_e_value(
    units: Iterable[float] | Mapping[float, int], margin: float, q: float = USUAL_LOSSES
) -> float:
    """Return the e-value against "the intent lost at least `margin`"; 20 or more refutes that.

    Args:
        units: paired differences in -1..1, or how often each occurs. None at all gives 1.
        margin: recall that may not be lost, above `q` and below 1.
        q: the usual share of losses, which sets the stakes.

    Raises:
        ValueError: the margin is not between q and 1, or a unit is not in -1..1 (NaN included).

    >>> round(loss_e_value([-1] * 4 + [1] + [0] * 25, margin=0.20), 2)
    1.24
    """
    counts = _counts(units)
    return _wealth(_stakes(margin, q), counts, lambda x: x + margin)


def harm_f_value(units: Iterable[float] | Mapping[float, int], h: float = 0.05) -> float:
    """Return the e-value against "the intent lost at most `h`"; K / .05 or more is harm among
    K intents.

    Args:
        units: as in `loss_e_value`.
        h: loss that is not called harm, 0..0.15.

    Raises:
        ValueError: a unit is not in -1..1, or `h` not in 0..0.15.
    """
    if not 0 <= h <= 0.15:
        raise ValueError(f"h is {h}, not in 0..0.15")
    counts = _counts(units)
    return _wealth(_HARM_STAKES, counts, lambda x: -x - h)


def labels_to_decide(e_value: float, margin: float, q: float = USUAL_LOSSES) -> int:
    """Return about how many more labels an unharmed intent needs until its e-value is 20.

    Raises:
        ValueError: the margin is not between q and 1.

    >>> labels_to_decide(1.24, 0.20), labels_to_decide(25.0, 0.20)
    (21, 0)
    """
    growth = _growth(margin, q)
    if e_value >= DECISIVE_E:
        return 0
    floor = math.log(max(e_value, math.exp(-_LARGEST_LOG)))
    return math.ceil((math.log(DECISIVE_E) - floor) / growth)


def resolvable_margin(n: int, q: float = USUAL_LOSSES) -> float | None:
    """Return the smallest margin, in whole points, that n examples of an unharmed intent are
    expected to resolve; None when no margin up to .50 is.

    >>> resolvable_margin(30), resolvable_margin(5)
    (0.17, None)
    """
    for points in range(math.floor(100 * q) + 1, 51):
        margin = points / 100
        if n * _growth(margin, q) >= math.log(DECISIVE_E):
            return margin
    return None


def _stakes(margin: float, q: float) -> tuple[float, float]:
    if not 0 <= q < margin < 1:
        raise ValueError(f"margin is {margin}, not between {q} and 1")
    kappa = (margin - q) / (margin * (1 - margin))
    return 0.6 * kappa, kappa


def _growth(margin: float, q: float) -> float:
    """Expected growth of ln E a label, for an intent with q losses and q gains."""
    return max(
        (1 - 2 * q) * math.log1p(stake * margin)
        + q * math.log1p(-stake * (1 - margin))
        + q * math.log1p(stake * (1 + margin))
        for stake in _stakes(margin, q)
    )


def _counts(units: Iterable[float] | Mapping[float, int]) -> list[tuple[float, int]]:
    """Distinct units in ascending order, so that the sum does not depend on theirs."""
    found = sorted(Counter(units).items())
    for x, count in found:
        if not -1 <= x <= 1 or count < 0:  # NaN fails the comparison
            raise ValueError(f"a unit is {x}, {count} times; units are in -1..1")
    return found


def _wealth(stakes: tuple[float, ...], counts: list[tuple[float, int]], payoff: _Payoff) -> float:
    total = 0.0
    for stake in stakes:
        logs = sum(count * math.log1p(stake * payoff(x)) for x, count in counts)
        total += math.exp(min(logs, _LARGEST_LOG))
    return total / len(stakes)
