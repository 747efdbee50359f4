"""How far two people agree, and how much of that is more than chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Two people's labels of the same items."""

    n: int
    agreed: int
    raw: float | None  # agreed / n; None without items
    kappa: float | None  # 1: always, 0: as often as by chance; None where chance always agrees


def agreement(pairs: Sequence[tuple[str, str]]) -> Agreement:
    """Return raw agreement and Cohen's kappa of (first label, second label) pairs.

    Source: Cohen 1960, Educational and Psychological Measurement 20.

    >>> pairs = [("a", "a")] * 20 + [("a", "b")] * 5 + [("b", "a")] * 10 + [("b", "b")] * 15
    >>> round(agreement(pairs).kappa, 3)
    0.4
    """
    n = len(pairs)
    agreed = sum(one == other for one, other in pairs)
    if not n:
        return Agreement(n=0, agreed=0, raw=None, kappa=None)
    firsts, seconds = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    by_chance = sum(count * seconds[label] for label, count in firsts.items())  # times n squared
    kappa = None
    if by_chance != n * n:
        kappa = (agreed * n - by_chance) / (n * n - by_chance)
    return Agreement(n=n, agreed=agreed, raw=agreed / n, kappa=kappa)
