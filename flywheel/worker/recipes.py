"""Named training hyper-parameters. A new recipe is one entry here.

The values were measured on CLINC150 and BANKING77 with two processor cores.
"""

from __future__ import annotations

from dataclasses import dataclass

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
"""Not a recipe: one of those that train is chosen on dev, see `halving`."""

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
