"""Which recipe suits these data? Successive halving on dev.

All recipes train on a quarter of the rows, the better half of them on twice as many, until one is
left; the job then trains it on everything. What fits the budget is reckoned from the number of
rows at a fixed speed, not from the clock, so that the same data give the same choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flywheel.worker.recipes import Recipe

_FIRST_SHARE = 0.25
_ROWS_PER_S = 100  # and epoch, of one busy core; a quiet one does twice as many

Round = dict[str, Any]
"""share of the rows, and the dev accuracy by recipe, as JSON."""


def pick(
    candidates: Sequence[Recipe],
    rows: int,
    budget_s: float,
    score: Callable[[Recipe, float], float],
) -> tuple[Recipe, list[Round]]:
    """The best candidate, and the rounds that showed it.

    Args:
        candidates: at least one.
        rows: of training.
        budget_s: processor seconds for the rounds and the training that follows.
        score: trains by a recipe on a share of the rows; returns its accuracy on dev. On a tie
            the recipe of fewer epochs stays.
    """
    left = sorted(candidates, key=lambda recipe: recipe.epochs)
    while len(left) > 1 and seconds(left, rows) > budget_s:
        left.pop()
    rounds: list[Round] = []
    share = _FIRST_SHARE
    while len(left) > 1:
        found = {recipe.name: score(recipe, share) for recipe in left}
        rounds.append({"share": share, "dev_accuracy": found})
        best = sorted(left, key=lambda recipe: -found[recipe.name])[: (len(left) + 1) // 2]
        left = [recipe for recipe in left if recipe in best]
        share = min(1.0, 2 * share)
    return left[0], rounds


def seconds(candidates: Sequence[Recipe], rows: int) -> float:
    """What the rounds and the training after them take at most.

    >>> from flywheel.worker.recipes import RECIPES
    >>> seconds([RECIPES["quick"], RECIPES["balanced"]], 1000)
    42.5
    """
    epochs = sorted((recipe.epochs for recipe in candidates), reverse=True)
    total, share, n = float(epochs[0]), _FIRST_SHARE, len(epochs)
    while n > 1:
        total += share * sum(epochs[:n])
        share, n = min(1.0, 2 * share), (n + 1) // 2
    return total * rows / _ROWS_PER_S
