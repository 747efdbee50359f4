"""Tables that fit the screen, with wide (Chinese) characters aligned.

Nothing is cut: a cell that does not fit goes on below itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flywheel.cli.screen import PAINT, columns, paint
from flywheel.cli.text import pad, width, wrap

_GAP = "  "


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table."""

    title: str
    right: bool = False  # numbers
    least: int | None = None  # it may shrink to this many columns; None: it keeps its width


def table(
    heads: Sequence[Column],
    rows: Sequence[Sequence[str]],
    *,
    notes: Sequence[str] = (),
    indent: str = "",
) -> list[str]:
    """Lay out `rows` of cleaned cells under `heads`.

    Args:
        heads: one for each cell of a row.
        rows: the cells; a cell that is a verdict word is coloured on a terminal.
        notes: one for each row, or none; a note is written below its row, indented.
        indent: put before every line.

    Returns:
        Lines of at most `screen.columns()`, where the columns that may shrink leave that room.
    """
    room = columns() - len(indent)
    widths = _fit(heads, rows, room)
    lines = _lines([head.title for head in heads], heads, widths)
    for index, row in enumerate(rows):
        lines += _lines(row, heads, widths)
        if notes and notes[index]:
            lines += [_GAP * 2 + line for line in wrap(notes[index], room - 2 * len(_GAP))]
    return [f"{indent}{line}".rstrip() for line in lines]


def _fit(heads: Sequence[Column], rows: Sequence[Sequence[str]], room: int) -> list[int]:
    """Give every column its natural width, then take from the widest that may shrink."""
    widths = [
        max([width(head.title), *(width(row[index]) for row in rows)])
        for index, head in enumerate(heads)
    ]
    excess = sum(widths) + len(_GAP) * (len(widths) - 1) - room
    while excess > 0:
        able = [
            index
            for index, head in enumerate(heads)
            if head.least is not None and widths[index] > max(head.least, 2)
        ]
        if not able:
            break
        widest = max(able, key=lambda index: widths[index])
        widths[widest] -= 1
        excess -= 1
    return widths


def _lines(cells: Sequence[str], heads: Sequence[Column], widths: Sequence[int]) -> list[str]:
    wrapped = [wrap(cell, columns) for cell, columns in zip(cells, widths, strict=True)]
    return [
        _GAP.join(
            _cell(parts[row] if row < len(parts) else "", head, columns)
            for parts, head, columns in zip(wrapped, heads, widths, strict=True)
        )
        for row in range(max(len(parts) for parts in wrapped))
    ]


def _cell(text: str, head: Column, columns: int) -> str:
    padded = pad(text, columns, right=head.right)
    return paint(padded, text) if text in PAINT else padded
