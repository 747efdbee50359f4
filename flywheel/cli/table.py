"""Tables that fit the screen, with wide (Chinese) characters aligned.

A cell that does not fit goes on below itself. A name is never broken: columns that may be left out
are left out for it, and a name that still does not fit ends in `…`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flywheel.cli.screen import PAINT, columns, paint
from flywheel.cli.text import cut, pad, width, wrap

_GAP = "  "


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table."""

    title: str
    right: bool = False  # numbers
    least: int | None = None  # it may shrink to this many columns; None: it keeps its width
    names: bool = False  # cells hold names: broken between words only
    spare: int = 0  # above 0: left out where names would not fit otherwise, the largest first


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
    dropped = _left_out(heads, rows, room)
    kept = [index for index in range(len(heads)) if index not in dropped]
    heads = [heads[index] for index in kept]
    rows = [[row[index] for index in kept] for row in rows]
    widths = _fit(heads, rows, room)
    lines = _lines([head.title for head in heads], heads, widths)
    for index, row in enumerate(rows):
        lines += _lines(row, heads, widths)
        if notes and notes[index]:
            lines += [_GAP * 2 + line for line in wrap(notes[index], room - 2 * len(_GAP))]
    return [f"{indent}{line}".rstrip() for line in lines]


def left_out(heads: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[str]:
    """Titles of the columns for which `table` has no room on this screen."""
    dropped = _left_out(heads, rows, columns())
    return [head.title for index, head in enumerate(heads) if index in dropped]


def _left_out(heads: Sequence[Column], rows: Sequence[Sequence[str]], room: int) -> set[int]:
    """Which spare columns have to go so that no name is cut."""
    needed = [_needed(head, [row[index] for row in rows]) for index, head in enumerate(heads)]
    able = [index for index, head in enumerate(heads) if head.spare]
    able.sort(key=lambda index: -heads[index].spare)
    dropped: set[int] = set()
    while able and sum(needed) + len(_GAP) * (len(heads) - len(dropped) - 1) > room:
        index = able.pop(0)
        dropped.add(index)
        needed[index] = 0
    return dropped


def _needed(head: Column, cells: Sequence[str]) -> int:
    """Columns below which a cell would be broken or cut where it should not be."""
    natural = max(map(width, [head.title, *cells]))
    if head.least is None:
        return natural
    if head.names:
        words = [word for cell in cells for word in cell.split()]
        return max(map(width, [head.title, *words]))
    return min(natural, max(head.least, width(head.title)))


def _fit(heads: Sequence[Column], rows: Sequence[Sequence[str]], room: int) -> list[int]:
    """Give every column its natural width, then take from the widest that may shrink.

    Names shrink last: down to the longest word first, which breaks none of them.
    """
    cells = [[row[index] for row in rows] for index in range(len(heads))]
    widths = [
        max([width(head.title), *map(width, cells[index])]) for index, head in enumerate(heads)
    ]
    gentle = [_needed(head, cells[index]) for index, head in enumerate(heads)]
    utmost = [
        widths[index] if head.least is None else min(widths[index], max(head.least, 2))
        for index, head in enumerate(heads)
    ]
    excess = sum(widths) + len(_GAP) * (len(widths) - 1) - room
    for least in (gentle, utmost):
        while excess > 0:
            able = [index for index in range(len(heads)) if widths[index] > least[index]]
            if not able:
                break
            widths[max(able, key=lambda index: widths[index])] -= 1
            excess -= 1
    return widths


def _lines(cells: Sequence[str], heads: Sequence[Column], widths: Sequence[int]) -> list[str]:
    wrapped = [
        _wrapped(cell, head, columns)
        for cell, head, columns in zip(cells, heads, widths, strict=True)
    ]
    return [
        _GAP.join(
            _cell(parts[row] if row < len(parts) else "", head, columns)
            for parts, head, columns in zip(wrapped, heads, widths, strict=True)
        )
        for row in range(max(len(parts) for parts in wrapped))
    ]


def _wrapped(cell: str, head: Column, columns: int) -> list[str]:
    if head.names:
        cell = " ".join(cut(word, columns) for word in cell.split())
    return wrap(cell, columns)


def _cell(text: str, head: Column, columns: int) -> str:
    padded = pad(text, columns, right=head.right)
    return paint(padded, text) if text in PAINT else padded
