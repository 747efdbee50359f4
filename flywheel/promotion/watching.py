"""Is the new champion corrected more often than the earlier one beside it? No I/O, no clock."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from flywheel.config.tables import WatchTable

_RATIOS = (1.5, 2.0, 3.0)  # of correction rates, new champion to earlier: the bets of `watch`
_LARGEST_LOG = 700.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One adapter's share of the same period's traffic."""

    adapter: str
    predictions: int
    corrected: int  # of them, those that feedback corrected

    def __post_init__(self) -> None:
        if not 0 <= self.corrected <= self.predictions:
            raise ValueError(f"arm {self.adapter}: {self.corrected} of {self.predictions}")


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchVerdict:
    """Whether the new champion is corrected more often than the earlier one beside it."""

    harmed: bool
    rollback: bool  # harmed, and `[watch] mode` is "rollback"
    e_value: float  # against "both are corrected equally often"
    threshold: float
    detail: str


def watch(arms: Sequence[Arm], table: WatchTable) -> WatchVerdict:
    """Test whether the new champion is corrected more often than the earlier one.

    The e-value bets on the arm that each correction comes from; harm is shown at 1/alpha. It is
    valid at any time and for any number of calls. No step of the turn calls it yet.

    Args:
        arms: the new champion first, then the earlier one over the same period. A single arm is
            not enough: corrections also rise when traffic gets harder.
        table: `[watch]`.

    Source: Ville's inequality, as in `metrics.paired_tests`.
    """
    threshold = 1 / table.alpha
    if len(arms) != 2 or not all(arm.predictions for arm in arms):
        return WatchVerdict(
            harmed=False,
            rollback=False,
            e_value=1.0,
            threshold=threshold,
            detail="nothing to compare with: no earlier champion answers beside this one",
        )
    current, earlier = arms
    share = current.predictions / (current.predictions + earlier.predictions)
    wealth = 0.0
    for ratio in _RATIOS:
        scale = 1 + share * (ratio - 1)
        log_wealth = current.corrected * math.log(ratio / scale) - earlier.corrected * math.log(
            scale
        )
        wealth += math.exp(min(log_wealth, _LARGEST_LOG)) / len(_RATIOS)
    harmed = wealth >= threshold and table.mode != "off"
    return WatchVerdict(
        harmed=harmed,
        rollback=harmed and table.mode == "rollback",
        e_value=wealth,
        threshold=threshold,
        detail=f"{current.adapter} was corrected {current.corrected} times in "
        f"{current.predictions} answers, {earlier.adapter} {earlier.corrected} in "
        f"{earlier.predictions}; E = {wealth:.3g} against {threshold:.3g}",
    )
