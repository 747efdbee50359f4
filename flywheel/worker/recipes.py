"""Named training hyper-parameters, and which of them suits a dataset. A new recipe is one entry.

The values were measured on CLINC150 and BANKING77 with two processor cores.

`search` chooses by successive halving on dev: all recipes train on a quarter of the rows, the
better half of them on twice as many, until one is left; the job then trains it on everything. What
fits the budget is computed from the number of rows at a fixed speed, not from the clock, so that
the same data give the same choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from flywheel.errors import FlywheelError

LAYERS = 3
"""Trained by LoRA, from the top: states below them are kept by text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How an adapter is trained, always from the base."""

    name: str
    why: str  # when to use it
    epochs: int  # 0 leaves the base as it is and fits the heads only
    learning_rate: float  # the peak, after warm-up
    layers: int = LAYERS
    rank: int = 16
    alpha: int = 32
    targets: tuple[str, ...] = ()  # endings of linear modules' names; empty: all of them
    batch: int = 32  # rows
    warmup: float = 0.1  # share of the steps; then linear decay to zero
    weight_decay: float = 0.01
    tag_weight: float = 2.0  # of the arguments' loss beside the intents'
    token_dropout: float = 0.0  # share of a text's tokens that an epoch does without


_ALL = (
    Recipe(
        name="frozen",
        why="logistic regression on the frozen base: seconds; the first champion",
        epochs=0,
        learning_rate=0.0,
    ),
    Recipe(
        name="quick",
        why="in a hurry: the fewest epochs",
        epochs=2,
        learning_rate=2e-3,
    ),
    Recipe(
        name="balanced",
        why="seeds with production feedback, some of it wrong; the default",
        epochs=3,
        learning_rate=3e-3,
    ),
    Recipe(
        name="thorough",
        why="little data, or time enough: many epochs, each without some of the words",
        epochs=8,
        learning_rate=3e-3,
        token_dropout=0.2,
    ),
)

RECIPES = {recipe.name: recipe for recipe in _ALL}

AUTO = "auto"
"""Not a recipe: one of those that train is chosen on dev, see `search`."""

TRAINING = [recipe for recipe in _ALL if recipe.epochs]
DEFAULT = RECIPES["balanced"]


def named(name: str) -> Recipe:
    """The recipe of that name; the default for `AUTO`, until it is chosen.

    Raises:
        FlywheelError: there is none.
    """
    if name == AUTO:
        return DEFAULT
    if name not in RECIPES:
        known = ", ".join((*RECIPES, AUTO))
        raise FlywheelError(
            f"there is no recipe {name!r}", hint=f"[training] recipe is one of {known}"
        )
    return RECIPES[name]


_FIRST_SHARE = 0.25
_ROWS_PER_S = 100  # and epoch, of one busy core; a quiet one does twice as many

SearchRound = dict[str, Any]
"""One round as JSON: `share` of the rows, and `dev_accuracy` by recipe."""


def search(
    candidates: Sequence[Recipe],
    rows: int,
    budget_s: float,
    score: Callable[[Recipe, float], float],
) -> tuple[Recipe, list[SearchRound]]:
    """Find the recipe that does best on dev, and return the rounds that led to it.

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
    rounds: list[SearchRound] = []
    share = _FIRST_SHARE
    while len(left) > 1:
        scores = {recipe.name: score(recipe, share) for recipe in left}
        rounds.append({"share": share, "dev_accuracy": scores})
        best = sorted(left, key=lambda recipe: -scores[recipe.name])[: (len(left) + 1) // 2]
        left = [recipe for recipe in left if recipe in best]
        share = min(1.0, 2 * share)
    return left[0], rounds


def seconds(candidates: Sequence[Recipe], rows: int) -> float:
    """Processor seconds that the rounds and the training after them take at most.

    >>> seconds([RECIPES["quick"], RECIPES["balanced"]], 1000)
    42.5
    """
    epochs = sorted((recipe.epochs for recipe in candidates), reverse=True)
    total, share, n = float(epochs[0]), _FIRST_SHARE, len(epochs)
    while n > 1:
        total += share * sum(epochs[:n])
        share, n = min(1.0, 2 * share), (n + 1) // 2
    return total * rows / _ROWS_PER_S
