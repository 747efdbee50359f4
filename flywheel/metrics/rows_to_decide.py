"""How many rows does an intent need before its e-value can decide, and how likely is it then? Pure.

Of `paired_tests.loss_e_value`. An unharmed intent loses a share q of its rows by chance and gains
as many.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping

from flywheel.metrics.paired_tests import (
    DECISIVE_E,
    USUAL_LOSSES,
    labels_to_decide,
    loss_e_value,
)

_MOST = 2000
_TAIL = 1.75


@functools.lru_cache(maxsize=256)
def fewest_rows(margin: float) -> int:
    """Return the number of rows without any loss or gain after which the margin is kept.

    Raises:
        ValueError: the margin cannot be resolved by any evidence.

    >>> [fewest_rows(margin) for margin in (0.10, 0.20, 0.30)]
    [54, 19, 11]
    """
    return fewest_more({}, margin)


def fewest_more(units: Iterable[float] | Mapping[float, int], margin: float) -> int:
    """Return how many further rows, all of them ties, would decide: no luck decides with fewer,
    gains aside.

    Args:
        units: paired differences so far, as of `loss_e_value`.
        margin: loss of recall to be excluded.

    Raises:
        ValueError: the margin cannot be resolved by any evidence.

    >>> fewest_more([-1] * 4 + [1] + [0] * 25, margin=0.20)
    22
    """
    counts = dict(units) if isinstance(units, Mapping) else _counted(units)
    low, high = 0, 1
    if loss_e_value(counts, margin) >= DECISIVE_E:
        return 0
    while high < _MOST and loss_e_value(_with_ties(counts, high), margin) < DECISIVE_E:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if loss_e_value(_with_ties(counts, middle), margin) < DECISIVE_E:
            low = middle
        else:
            high = middle
    return high


@functools.lru_cache(maxsize=4096)
def pass_chance(rows: int, margin: float, q: float = USUAL_LOSSES) -> float:
    """Return the chance that an unharmed intent has kept its margin after so many rows, 0..1.

    Exact, over losses and gains of `rows` independent rows; looked at once, at the end. Labels that
    are added until it decides do no worse.

    >>> [round(pass_chance(rows, 0.20), 2) for rows in (18, 19, 40)]
    [0.27, 0.47, 0.85]
    """
    chance = 0.0
    for losses in range(rows + 1):
        lost = math.comb(rows, losses) * q**losses
        if lost * (1 - q) ** (rows - losses) < 1e-9 and losses > rows * q:
            break
        for gains in range(rows - losses + 1):
            some = math.comb(rows - losses, gains) * q**gains
            some *= (1 - 2 * q) ** (rows - losses - gains)
            if lost * some < 1e-12 and gains > rows * q:
                break
            counts = {-1.0: losses, 1.0: gains, 0.0: rows - losses - gains}
            if loss_e_value(counts, margin, q) >= DECISIVE_E:
                chance += lost * some
    return min(1.0, chance)


def likely_rows(margin: float) -> int:
    """Return about how many rows decide nine of ten unharmed intents, where labels are added until
    they do.

    1.75 times the expected number, by simulation.

    >>> [likely_rows(margin) for margin in (0.10, 0.20, 0.30)]
    [117, 40, 23]
    """
    return math.ceil(_TAIL * labels_to_decide(1.0, margin) - 0.5)


def _with_ties(counts: Mapping[float, int], more: int) -> dict[float, int]:
    return {**counts, 0.0: counts.get(0.0, 0) + more}


def _counted(units: Iterable[float]) -> dict[float, int]:
    counts: dict[float, int] = {}
    for x in units:
        counts[x] = counts.get(x, 0) + 1
    return counts
