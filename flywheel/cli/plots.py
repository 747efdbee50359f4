"""Plots of a decision as SVG text: no script, no style attribute, everything escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_ROW = 20
_LEFT, _WIDTH = 220, 360
_SIDE = 260


def forest(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line an intent: the change of its recall with the 95 % interval, zero in the middle."""
    drawn = [row for row in rows if row.get("change") is not None]
    if not drawn:
        return ""
    reach = max(max(abs(row["low"]), abs(row["high"])) for row in drawn) or 1.0
    height = _ROW * (len(drawn) + 2)
    middle = _LEFT + _WIDTH / 2
    parts = [f'<line class="zero" x1="{middle}" y1="0" x2="{middle}" y2="{height - _ROW}"/>']
    for number, row in enumerate(drawn):
        y = _ROW * number + _ROW / 2
        low, at, high = (middle + _WIDTH / 2 * row[k] / reach for k in ("low", "change", "high"))
        kind = escape(str(row.get("verdict", "")))
        parts += [
            f'<text x="{_LEFT - 8}" y="{y + 4}" class="name">{_short(row["intent"])}</text>',
            f'<line class="interval" x1="{low:.1f}" y1="{y}" x2="{high:.1f}" y2="{y}"/>',
            f'<circle class="{kind}" cx="{at:.1f}" cy="{y}" r="4"/>',
        ]
    y = height - _ROW / 2
    for x, value in ((_LEFT, -reach), (middle, 0.0), (_LEFT + _WIDTH, reach)):
        parts.append(f'<text x="{x}" y="{y}" class="tick">{100 * value:+.0f}</text>')
    return _svg(_LEFT + _WIDTH + 40, height, "change of recall by intent, points", parts)


def calibration(bins: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Accuracy over confidence for both models; the diagonal is honest confidence."""
    if not any(bins.values()):
        return ""
    size, edge = _SIDE, 30
    parts = [f'<line class="zero" x1="{edge}" y1="{size}" x2="{edge + size}" y2="0"/>']
    for model, members in bins.items():
        places = [
            (edge + size * each["confidence"], size - size * each["accuracy"]) for each in members
        ]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline class="{escape(model)}" points="{line}"/>')
        parts += [
            f'<circle class="{escape(model)}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places
        ]
    parts += [
        f'<text x="{edge}" y="{size + 18}" class="tick">0</text>',
        f'<text x="{edge + size}" y="{size + 18}" class="tick">confidence 1</text>',
    ]
    return _svg(size + 2 * edge + 60, size + edge, "accuracy over confidence", parts)


def confusions(rows: Sequence[Mapping[str, Any]]) -> str:
    """How often each wrong answer was given, before (above) and after (below)."""
    if not rows:
        return ""
    most = max(max(row["before"], row["after"]) for row in rows) or 1
    parts = []
    for number, row in enumerate(rows):
        y = 2 * _ROW * number
        name = _short(f"{row['intent']} → {row['answer']}")
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 22}" class="name">{name}</text>')
        for offset, model, key in ((4, "champion", "before"), (20, "challenger", "after")):
            width = _WIDTH * row[key] / most
            parts += [
                f'<rect class="{model}" x="{_LEFT}" y="{y + offset}" width="{width:.1f}" '
                f'height="13"/>',
                f'<text x="{_LEFT + width + 4:.1f}" y="{y + offset + 11}" class="count">'
                f"{row[key]}</text>",
            ]
    height = 2 * _ROW * len(rows) + 8
    return _svg(_LEFT + _WIDTH + 40, height, "wrong answers before and after", parts)


def _short(text: object) -> str:
    shown = str(text)
    return escape(shown if len(shown) <= 34 else f"{shown[:33]}…")


def _svg(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img"><title>{escape(title)}</title>'
        f"{''.join(parts)}</svg>"
    )
