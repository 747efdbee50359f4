"""Paired comparison of two models on the same examples: sign test and e-values.

The sign test takes counts. `losses` are the units that only the champion answers correctly,
`gains` those that only the challenger does; units on which both agree carry no information.

The e-values take units. A unit is x = correct(challenger) - correct(champion) on one example, in
-1..1; a family of paraphrases is one unit, its mean. Each e-value is a bet whose expectation is
at most 1 while its null hypothesis holds, at any sample size, so labels may be added until the
bet decides (Ville's inequality). Values saturate near 1e304 instead of overflowing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from statistics import NormalDist

from flywheel.metrics.distributions import betainc

DECISIVE_E = 20.0
"""An e-value of 20 refutes its null at level .05."""

USUAL_LOSSES = 0.04
"""Share of examples that an unharmed intent loses by chance, and as many that it gains: `q`."""

_Payoff = Callable[[float], float]
_HARM_STAKES = (0.3, 0.6, 0.85)
_LARGEST_LOG = 700.0
_NORMAL = NormalDist()


def superiority_p(losses: int, gains: int) -> float:
    """Return the one-sided p-value that the challenger is better.

    P(Bin(losses + gains, 1/2) >= gains); 1 when there are no gains.

    Raises:
        ValueError: a count is negative.

    >>> round(superiority_p(1, 9), 4)
    0.0107
    """
    if losses < 0 or gains < 0:
        raise ValueError(f"{losses} losses, {gains} gains")
    if gains == 0:
        return 1.0
    return betainc(gains, losses + 1, 0.5)


def inferiority_p(losses: int, gains: int) -> float:
    """Return the one-sided p-value that the challenger is worse, as `superiority_p` with the counts
    exchanged.

    Raises:
        ValueError: a count is negative.
    """
    return superiority_p(gains, losses)


def minimum_detectable_gain(n: int, discordance: float, alpha: float, power: float = 0.8) -> float:
    """Return the smallest true gain that the sign test finds with probability `power`.

    Args:
        n: units.
        discordance: share of units on which the models differ in correctness, 0..1.
        alpha: level of the one-sided test.
        power: 0.5..1.

    Returns:
        A gain in accuracy, 0..1; infinity when n is too small to find even a gain on every unit.

    Source: Connor 1987, Biometrics 43 (normal approximation of the conditional test).

    >>> round(minimum_detectable_gain(3158, 0.10, 0.10 / 30), 4)
    0.02
    """
    low, high = 0.0, 1.0
    if examples_to_detect(1.0, discordance, alpha, power) > n:
        return math.inf
    while high - low > 1e-7:
        middle = (low + high) / 2
        if examples_to_detect(middle, discordance, alpha, power) > n:
            low = middle
        else:
            high = middle
    return high


def examples_to_detect(gain: float, discordance: float, alpha: float, power: float = 0.8) -> int:
    """Return how many units the sign test needs to find a true gain with probability `power`.

    A gain above `discordance` means that all differing units are gains.

    Raises:
        ValueError: `gain` is not in (0, 1], or `alpha` or `power` cannot be met.

    Source: as `minimum_detectable_gain`.
    """
    if not 0 < gain <= 1 or not 0 < alpha < 1 or not 0.5 <= power < 1:
        raise ValueError(f"gain {gain}, alpha {alpha}, power {power}")
    differing = min(1.0, max(discordance, gain))
    z_alpha, z_power = _NORMAL.inv_cdf(1 - alpha), _NORMAL.inv_cdf(power)
    spread = z_alpha * math.sqrt(differing) + z_power * math.sqrt(differing - gain * gain)
    fewest = math.log2(1 / alpha) / differing  # so many differing units can reach alpha at all
    return math.ceil(max((spread / gain) ** 2, fewest) - 1e-9)


def loss_e_value(
    units: Iterable[float] | Mapping[float, int], margin: float, q: float = USUAL_LOSSES
) -> float:
    """Return the e-value against "the intent lost at least `margin`"; 20 or more refutes that.

    Args:
        units: paired differences in -1..1, or a count for each value. An empty sample gives 1.
        margin: loss of recall to be excluded, above `q` and below 1.
        q: expected share of losses of an unharmed intent; it sets the stakes of the bets.

    Raises:
        ValueError: the margin is not between q and 1, or a unit is not in -1..1 (NaN included).

    >>> round(loss_e_value([-1] * 4 + [1] + [0] * 25, margin=0.20), 2)
    1.24
    """
    counts = _counts(units)
    return _wealth(_stakes(margin, q), counts, lambda x: x + margin)


def harm_f_value(units: Iterable[float] | Mapping[float, int], h: float = 0.05) -> float:
    """Return the e-value against "the intent lost at most `h`"; harm is shown from K / .05, where
    K is the number of intents tested.

    Args:
        units: as in `loss_e_value`.
        h: tolerated loss of recall, 0..0.15.

    Raises:
        ValueError: a unit is not in -1..1, or `h` not in 0..0.15.
    """
    if not 0 <= h <= 0.15:
        raise ValueError(f"h is {h}, not in 0..0.15")
    counts = _counts(units)
    return _wealth(_HARM_STAKES, counts, lambda x: -x - h)


def labels_to_decide(e_value: float, margin: float, q: float = USUAL_LOSSES) -> int:
    """Return the expected number of further labels until an unharmed intent's e-value is 20.

    Raises:
        ValueError: the margin is not between q and 1.

    >>> labels_to_decide(1.24, 0.20), labels_to_decide(25.0, 0.20)
    (21, 0)
    """
    growth = _growth(margin, q)
    if e_value >= DECISIVE_E:
        return 0
    log_e = math.log(max(e_value, math.exp(-_LARGEST_LOG)))
    return math.ceil((math.log(DECISIVE_E) - log_e) / growth)


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
    """Expected growth of ln E per label, for an intent with shares q of losses and q of gains."""
    return max(
        (1 - 2 * q) * math.log1p(stake * margin)
        + q * math.log1p(-stake * (1 - margin))
        + q * math.log1p(stake * (1 + margin))
        for stake in _stakes(margin, q)
    )


def _counts(units: Iterable[float] | Mapping[float, int]) -> list[tuple[float, int]]:
    """Count the distinct units, in ascending order: the sum must not depend on the input order."""
    counts = sorted(Counter(units).items())
    for x, count in counts:
        if not -1 <= x <= 1 or count < 0:  # NaN fails the comparison
            raise ValueError(f"a unit is {x}, {count} times; units are in -1..1")
    return counts


def _wealth(stakes: tuple[float, ...], counts: list[tuple[float, int]], payoff: _Payoff) -> float:
    """Mean final wealth of one bet for each stake."""
    total = 0.0
    for stake in stakes:
        log_wealth = sum(count * math.log1p(stake * payoff(x)) for x, count in counts)
        total += math.exp(min(log_wealth, _LARGEST_LOG))
    return total / len(stakes)
