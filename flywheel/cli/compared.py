"""Parts of a decision's page that compare champion and challenger: bars, slices, consequences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flywheel.cli.screen import heading, prose
from flywheel.cli.table import Column, table
from flywheel.cli.text import clean, number, share, signed

BAR = 11
"""Columns of a bar."""

_INDENT = "  "
_SLICES_SHOWN = 12


def bar(row: Mapping[str, Any], reach: float) -> str:
    """An interval around no change, losses to the left: `●` the estimate, `│` zero.

    Args:
        row: with `change`, `low` and `high`, as fractions.
        reach: what the bar's ends stand for.

    >>> bar({"change": 0.1, "low": 0.0, "high": 0.2}, 0.2)
    '     ├─●──┤'
    """
    if row.get("change") is None or reach <= 0:
        return ""
    low, change, high = (_place(row[name], reach) for name in ("low", "change", "high"))
    cells = [" "] * BAR
    cells[BAR // 2] = "│"
    for place in range(low, high + 1):
        cells[place] = "─"
    cells[low], cells[high] = "├", "┤"
    cells[change] = "●"
    return "".join(cells)


def reach_of(rows: list[Mapping[str, Any]]) -> float:
    """The widest interval's end, so that all bars of a table have one scale."""
    ends = [abs(row[end]) for row in rows for end in ("low", "high") if row.get(end) is not None]
    return max(ends, default=0.0)


def _place(value: float, reach: float) -> int:
    middle = BAR // 2
    return max(0, min(BAR - 1, middle + round(middle * value / reach)))


_SLICES = (
    Column(title="slice", least=14),
    Column(title="before", right=True),
    Column(title="after", right=True),
    Column(title="n", right=True),
    Column(title="change", right=True),
    Column(title="interval"),
)


def slices(decision: Mapping[str, Any]) -> list[str]:
    """Every slice of the golden rows, the worst change first."""
    rows = decision.get("slices") or []
    if not rows:
        return []
    reach = reach_of(rows)
    cells = [
        [
            clean(row["slice"]),
            share(row["before"]),
            share(row["after"]),
            number(row["n"]),
            signed(row["change"]),
            bar(row, reach),
        ]
        for row in rows[:_SLICES_SHOWN]
    ]
    return [heading("Slices"), *table(_SLICES, cells, indent=_INDENT)]


def would(decision: Mapping[str, Any]) -> list[str]:
    """What promoting would do."""
    said = decision.get("would")
    return [heading("If approved"), *prose(clean(said), _INDENT)] if said else []
