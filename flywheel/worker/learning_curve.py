"""The learning curve: which epoch is taken, when training stops early, and a picture of it.

The learning rate falls to zero over a recipe's epochs, so the last epoch is the one to expect. Two
epochs differ in a few dev rows, and the best of several is best by luck as well: an earlier epoch
is taken only where it is clearly better than the last on the rows that they answer differently.

The picture is drawn with Pillow; a plotting library takes longer to import than a small training.

Source: McNemar 1947.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

CurveLine = dict[str, Any]
"""One epoch of the learning curve, as JSON: `epoch` (1..), `loss`, and `dev_accuracy` (0..1) where
there are dev rows."""

_CLEARLY = 1.64  # standard errors: one in twenty by chance
_PATIENCE = 2  # epochs in a row that are clearly worse than the best

_WIDTH, _HEIGHT, _EDGE = 840, 440, 80  # pixels
_SIZE = 22  # of the letters
_LINES = (("loss", "#b03a2e", ".3f"), ("dev_accuracy", "#1f618d", ".1%"))


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


def draw(path: Path, curve: Sequence[CurveLine]) -> None:
    """Write loss and dev accuracy by epoch as a PNG; nothing for an empty curve."""
    if not curve:
        return
    picture = Image.new("RGB", (_WIDTH, _HEIGHT), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(_SIZE)
    for row, (key, colour, form) in enumerate(_LINES):
        if key not in curve[0]:
            continue
        points = _points([float(line[key]) for line in curve])
        pen.line(points, fill=colour, width=3)
        for (x, y), line in zip(points, curve, strict=True):
            pen.text((x, y - 8), f"{line[key]:{form}}", fill=colour, font=font, anchor="mb")
        title = key.replace("_", " ")
        pen.text((_WIDTH / 2, 28 * row + 8), title, fill=colour, font=font, anchor="mt")
    for number, line in enumerate(curve):
        place = (_x(number, len(curve)), _HEIGHT - 16)
        pen.text(place, f"epoch {line['epoch']}", fill="black", font=font, anchor="mb")
    picture.save(path)


def _points(values: Sequence[float]) -> list[tuple[float, float]]:
    """Pixels (x, y) of each value; the lowest at the bottom, the highest at the top."""
    low, high = min(values), max(values)
    usable, span = _HEIGHT - 2 * _EDGE, (high - low) or 1.0
    return [
        (_x(n, len(values)), _HEIGHT - _EDGE - usable * (value - low) / span)
        for n, value in enumerate(values)
    ]


def _x(number: int, count: int) -> float:
    return _EDGE + (_WIDTH - 2 * _EDGE) * (number / (count - 1) if count > 1 else 0.5)
