"""From paired rows to independent units, and from units to the margin's verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

from flywheel.metrics import DECISIVE_E, harm_f_value, labels_to_decide, loss_e_value
from flywheel.records import Outcome, Verdict

HARM_LEVEL = 0.05
"""Chance that any of K unharmed groups is called harmed."""

_DIFFERENCE: Mapping[tuple[bool | None, bool | None], int] = {
    (True, True): 0,
    (False, False): 0,
    (True, False): -1,
    (False, True): 1,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """Differences correct(challenger) - correct(champion); a family of paraphrases is one."""

    counts: Mapping[float, int]  # how often each value in -1..1 occurs
    missing: int = 0  # rows that one of the models gave no answer for

    @property
    def n(self) -> int:
        """Units with both answers."""
        return sum(self.counts.values())

    @property
    def losses(self) -> int:
        """Units on which the challenger is worse."""
        return sum(count for x, count in self.counts.items() if x < 0)

    @property
    def gains(self) -> int:
        """Units on which the challenger is better."""
        return sum(count for x, count in self.counts.items() if x > 0)

    @property
    def effect(self) -> float | None:
        """Mean difference; None without units."""
        total = sum(x * count for x, count in sorted(self.counts.items()))
        return total / self.n if self.counts else None


def pair(rows: Iterable[Outcome]) -> Units:
    """Pair the models' correctness; rows of one family, or one sample twice, are one unit."""
    difference = _DIFFERENCE.get
    return collect(
        (
            (row.family,) if row.family else row.sample,
            difference((row.champion_correct, row.challenger_correct)),
        )
        for row in rows
    )


def collect(keyed: Iterable[tuple[Hashable, int | None]]) -> Units:
    """Average the differences that share a key; None counts as missing."""
    single: dict[Hashable, int] = {}
    shared: dict[Hashable, list[int]] = {}
    missing = 0
    for key, x in keyed:
        if x is None:
            missing += 1
        elif key not in single:
            single[key] = x
        elif key in shared:
            shared[key].append(x)
        else:
            shared[key] = [x]
    counts: Counter[float] = Counter()
    if shared:
        for key, more in shared.items():
            counts[(single.pop(key) + sum(more)) / (1 + len(more))] += 1
    counts.update(single.values())
    return Units(counts=counts, missing=missing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Whether a group of rows kept its margin."""

    verdict: Verdict
    e_value: float
    f_value: float
    labels_needed: int


def kept(units: Units, margin: float, groups: int) -> Kept:
    """Judge one of `groups` groups: did it lose `margin` or more?

    PASS when the e-value against that is 20 or more and no row is missing, FAIL when harm is
    shown at level .05 over all groups, otherwise INCONCLUSIVE.

    Raises:
        ValueError: the margin cannot be resolved by any evidence (`loss_e_value`).
    """
    e_value = loss_e_value(units.counts, margin)
    f_value = harm_f_value(units.counts)
    verdict: Verdict = "INCONCLUSIVE"
    if f_value >= groups / HARM_LEVEL:
        verdict = "FAIL"
    elif e_value >= DECISIVE_E and not units.missing:
        verdict = "PASS"
    needed = labels_to_decide(e_value, margin) if verdict == "INCONCLUSIVE" else 0
    return Kept(verdict=verdict, e_value=e_value, f_value=f_value, labels_needed=needed)
