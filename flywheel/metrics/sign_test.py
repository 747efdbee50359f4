"""The sign test on paired outcomes, and how large a gain it can see.

Units on which both models are equally right say nothing; of the others, `losses` are those
the challenger got worse and `gains` those it got better.
"""

from __future__ import annotations

import math
from statistics import NormalDist

from scipy.special import betainc

_NORMAL = NormalDist()


def superiority_p(losses: int, gains: int) -> float:
    """Return P(Bin(losses + gains, 1/2) >= gains): chance of so many gains from equal models.

    1 when there is neither loss nor gain.

    Raises:
        ValueError: a count is negative.

    >>> round(superiority_p(1, 9), 4)
    0.0107
    """
    if losses < 0 or gains < 0:
        raise ValueError(f"{losses} losses, {gains} gains")
    if gains == 0:
        return 1.0
    return float(betainc(gains, losses + 1, 0.5))


def inferiority_p(losses: int, gains: int) -> float:
    """Return P(Bin(losses + gains, 1/2) >= losses): chance of so many losses from equal models.

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
        A gain in accuracy as a fraction; infinity when even a challenger that gains on every
        unit would not be found.

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
