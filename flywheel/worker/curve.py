"""The learning curve as a picture: loss and dev accuracy by epoch, as PNG.

Drawn with Pillow; a plotting library takes longer to import than a small training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

_WIDTH, _HEIGHT, _EDGE = 840, 440, 80  # pixels
_SIZE = 22  # of the letters
_LINES = (("loss", "#b03a2e", ".3f"), ("dev_accuracy", "#1f618d", ".1%"))


def draw(path: Path, curve: Sequence[Mapping[str, Any]]) -> None:
    """Write the picture; none for an empty curve."""
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
    """Where each value goes; the lowest at the bottom, the highest at the top."""
    low, high = min(values), max(values)
    usable, span = _HEIGHT - 2 * _EDGE, (high - low) or 1.0
    return [
        (_x(n, len(values)), _HEIGHT - _EDGE - usable * (value - low) / span)
        for n, value in enumerate(values)
    ]


def _x(number: int, count: int) -> float:
    return _EDGE + (_WIDTH - 2 * _EDGE) * (number / (count - 1) if count > 1 else 0.5)
