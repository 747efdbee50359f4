"""What the commands write, and how: lines, sections, JSON, and progress on a terminal.

Standard output holds the answer and nothing else; progress, errors and hints go to standard
error. Colour only on a terminal, and never with `NO_COLOR` set.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

import typer

from flywheel.cli.text import clean, cut, pad, width, wrap
from flywheel.errors import FlywheelError

# How this program was called, so that every command it prints can be pasted.

_NAME = "flywheel"
_PRINTED = re.compile(r"(^next: |^  |`)flywheel (?=[a-z])")
_config: ContextVar[Path | None] = ContextVar("config", default=None)


def remember(config: Path | None) -> None:
    """Note the file that `flywheel --config FILE …` named; None: it named none."""
    _config.set(config)


def program() -> str:
    """`flywheel` where the shell finds this program by that name, else how it was called."""
    called = Path(sys.argv[0])
    if called.parts[-2:] == (_NAME, "__main__.py"):
        return f"{shlex.quote(sys.executable)} -m {_NAME}"
    found = shutil.which(_NAME)
    if called.name != _NAME or (found and Path(found).resolve() == called.resolve()):
        return _NAME
    return shlex.quote(str(called))


def pasteable(line: str) -> str:
    """The line with its commands as this user has to type them: program, and `--config` if given.

    Commands are what stands in backticks, after `next: `, or alone on an indented line.
    """
    if f"{_NAME} " not in line:
        return line
    config = _config.get()
    start = program() + (f" --config {shlex.quote(str(config))}" if config else "")
    return _PRINTED.sub(lambda found: f"{found[1]}{start} ", line)


PLAIN_COLUMNS = 80
_PROSE_COLUMNS = 100  # longer lines are hard to read, however wide the terminal
_PLAIN_S = 10.0  # between lines of progress where there is no terminal
_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")

PAINT = {
    "PASS": typer.colors.GREEN,
    "ok": typer.colors.GREEN,
    "FAIL": typer.colors.RED,
    "FAILING": typer.colors.RED,
    "INCONCLUSIVE": typer.colors.YELLOW,
    "warn": typer.colors.YELLOW,
    "pending": typer.colors.YELLOW,
}


def columns() -> int:
    """Width to write for: the terminal's, or 80 (`COLUMNS` overrides both)."""
    if not sys.stdout.isatty() and not os.environ.get("COLUMNS"):
        return PLAIN_COLUMNS
    return max(40, shutil.get_terminal_size((PLAIN_COLUMNS, 24)).columns)


def coloured() -> bool:
    """Whether colour may be used on standard output."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not plain


def paint(text: str, word: str | None = None) -> str:
    """Colour `text` as the verdict `word` (itself, when not given) is coloured."""
    colour = PAINT.get(word or text.strip())
    return typer.style(text, fg=colour) if colour and coloured() else text


def heading(text: str) -> str:
    """A section's title, bold on a terminal."""
    return typer.style(text, bold=True) if coloured() else text


def say(*lines: str) -> None:
    """Write lines to standard output. Text from outside was cleaned by the caller."""
    for line in lines:
        typer.echo(pasteable(line))


def prose(text: str, indent: str = "") -> list[str]:
    """Break a cleaned sentence into lines that fit."""
    return [indent + line for line in wrap(text, min(columns(), _PROSE_COLUMNS) - len(indent))]


def facts(pairs: list[tuple[str, str]], indent: str = "") -> list[str]:
    """Lay out names and values in two columns; long values continue below themselves."""
    left = max((len(name) for name, _ in pairs), default=0)
    lines: list[str] = []
    for name, value in pairs:
        first, *rest = prose(value, indent + " " * (left + 2))
        lines.append(f"{indent}{name:<{left}}  {first.strip()}".rstrip())
        lines += rest
    return lines


def raw_json(body: bytes) -> None:
    """Write the daemon's JSON as it is.

    On a terminal, characters that steer it are spelled as JSON escapes: the same JSON, harmless.
    """
    text = body.decode("utf-8", "replace").rstrip("\n")
    if sys.stdout.isatty():
        text = _UNSAFE_IN_JSON.sub(lambda found: f"\\u{ord(found.group()):04x}", text)
    typer.echo(text)


def remark(*lines: str) -> None:
    """Write lines to standard error: what is not the answer itself."""
    for line in lines:
        typer.echo(pasteable(clean(line)), err=True)


def complain(error: FlywheelError) -> None:
    """Write an error as two lines on standard error: what failed, and what to do next."""
    remark(f"error: {error.message}", *([f"next: {error.hint}"] if error.hint else []))


class ProgressLine:
    """One line on standard error that is rewritten; where that is no terminal, now and then a line.

    A log file gets its first line after `_PLAIN_S` seconds: what is quick stays silent.
    """

    def __init__(self) -> None:
        self._live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._told = time.monotonic()
        self._text = ""

    def show(self, text: str) -> None:
        """Replace the line by `text`."""
        if self._live:
            room = shutil.get_terminal_size((PLAIN_COLUMNS, 24)).columns - 1
            typer.echo(f"\r\x1b[K{cut(clean(text), room)}", err=True, nl=False)
        elif text != self._text and time.monotonic() - self._told >= _PLAIN_S:
            remark(text)
            self._told, self._text = time.monotonic(), text

    def clear(self) -> None:
        """Remove the line, so that what comes next starts on a clean one."""
        if self._live:
            typer.echo("\r\x1b[K", err=True, nl=False)


# Tables that fit the screen, with wide (Chinese) characters aligned.
#
# A cell that does not fit goes on below itself. A name is never broken: columns that may be left
# out are left out for it, and a name that still does not fit ends in `…`.

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
