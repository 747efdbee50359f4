"""The learning curve as a picture: loss and dev accuracy by epoch, in an SVG of its own.

Written out, since a plotting library takes longer to import than a small training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_WIDTH, _HEIGHT, _EDGE = 420, 220, 40


def draw(path: Path, curve: Sequence[Mapping[str, Any]]) -> None:
    """Write the picture; none for an empty curve."""
    if not curve:
        return
    parts = [_line(curve, "loss", "#b03a2e", ".3f", 16)]
    if "dev_accuracy" in curve[0]:
        parts.append(_line(curve, "dev_accuracy", "#1f618d", ".1%", 32))
    for number, line in enumerate(curve):
        x, y = _x(number, len(curve)), _HEIGHT - _EDGE / 3
        parts.append(f'<text x="{x:.0f}" y="{y:.0f}">epoch {line["epoch"]}</text>')
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'font-family="sans-serif" font-size="11" text-anchor="middle">{"".join(parts)}</svg>\n',
        encoding="utf-8",
    )


def _line(curve: Sequence[Mapping[str, Any]], key: str, colour: str, form: str, legend: int) -> str:
    values = [float(line[key]) for line in curve]
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    usable = _HEIGHT - 2 * _EDGE
    points = [
        (_x(n, len(values)), _HEIGHT - _EDGE - usable * (value - low) / span)
        for n, value in enumerate(values)
    ]
    path = " ".join(f"{x:.0f},{y:.0f}" for x, y in points)
    said = "".join(
        f'<text x="{x:.0f}" y="{y - 6:.0f}" fill="{colour}">{value:{form}}</text>'
        for (x, y), value in zip(points, values, strict=True)
    )
    name = f'<text x="{_WIDTH / 2}" y="{legend}" fill="{colour}">{key.replace("_", " ")}</text>'
    drawn = f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
    return name + drawn + said


def _x(number: int, count: int) -> float:
    return _EDGE + (_WIDTH - 2 * _EDGE) * (number / (count - 1) if count > 1 else 0.5)
