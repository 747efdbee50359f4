"""Which epoch is taken, and when no further one is worth its time; by the dev rows it gets right.

The rate falls to zero over a recipe's epochs, so the last one is the one to expect. Two epochs
differ in a few dev rows, and the best of several is best by luck as well: an earlier epoch is taken
only where it is clearly better than the last on the rows that they answer differently.

Source: McNemar 1947.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

_CLEARLY = 1.64  # standard errors: one in twenty by chance
_PATIENCE = 2  # epochs in a row that are clearly worse than the best


def most(right: Sequence[Tensor]) -> int | None:
    """The epoch with most rows right, the later one on a tie; None without any.

    Args:
        right: bool (n,) for each epoch, of the same rows.
    """
    if not right:
        return None
    hits = [int(each.sum()) for each in right]
    return max(range(len(hits)), key=lambda epoch: (hits[epoch], epoch))


def taken(right: Sequence[Tensor]) -> int | None:
    """The epoch whose weights are taken: the last, or an earlier one that is clearly better."""
    best = most(right)
    if best is None or clearly_better(right[best], right[-1]):
        return best
    return len(right) - 1


def stops(right: Sequence[Tensor]) -> bool:
    """Whether training has become clearly worse, and stayed so."""
    best = most(right)
    if best is None or len(right) - 1 - best < _PATIENCE:
        return False
    return all(clearly_better(right[best], each) for each in right[-_PATIENCE:])


def clearly_better(one: Tensor, other: Tensor) -> bool:
    """Whether one is right on more of the rows than the other, beyond chance.

    Args:
        one, other: bool (n,).
    """
    gained, lost = int((one & ~other).sum()), int((other & ~one).sum())
    return gained - lost > _CLEARLY * math.sqrt(gained + lost)
