"""What the commands write, and how: lines, sections, JSON, tables, and progress on a terminal.

Standard output holds the answer and nothing else; progress, errors and hints go to standard error.
A command that is printed can be pasted: it names this program as it was called. Colour only on a
terminal, and never with `NO_COLOR` set. Tables and progress are rich's, which is imported when the
first one is shown.
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
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from flywheel.cli.text import clean, cut, pad, width, wrap
from flywheel.errors import FlywheelError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.status import Status
    from rich.text import Text

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
    on_path = shutil.which(_NAME)
    if called.name != _NAME or (on_path and Path(on_path).resolve() == called.resolve()):
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
    return _PRINTED.sub(lambda match: f"{match[1]}{start} ", line)


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
    left = max((width(name) for name, _ in pairs), default=0)
    lines: list[str] = []
    for name, value in pairs:
        first, *rest = prose(value, indent + " " * (left + 2))
        lines.append(f"{indent}{pad(name, left)}  {first.strip()}".rstrip())
        lines += rest
    return lines


def raw_json(body: bytes) -> None:
    """Write the daemon's JSON as it is.

    On a terminal, characters that steer it are spelled as JSON escapes: the same JSON, harmless.
    """
    text = body.decode("utf-8", "replace").rstrip("\n")
    if sys.stdout.isatty():
        text = _UNSAFE_IN_JSON.sub(lambda match: f"\\u{ord(match.group()):04x}", text)
    typer.echo(text)


def remark(*lines: str) -> None:
    """Write lines to standard error: what is not the answer itself."""
    for line in lines:
        typer.echo(pasteable(clean(line)), err=True)


def complain(error: FlywheelError) -> None:
    """Write an error as two lines on standard error: what failed, and what to do next."""
    remark(f"error: {error.message}", *([f"next: {error.hint}"] if error.hint else []))


class ProgressLine:
    """What is under way, on standard error: on a terminal a line that lives, else now and then one.

    A log file gets its first line after `_PLAIN_S` seconds: what is quick stays silent. Whoever
    shows clears in the end, whatever happens: a terminal is without its cursor until then.
    """

    def __init__(self) -> None:
        self._live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._status: Status | None = None
        self._shown_at = time.monotonic()
        self._shown = ""

    def show(self, text: str) -> None:
        """Replace the line by `text`."""
        if self._live:
            self._spin(clean(text))
        elif text != self._shown and time.monotonic() - self._shown_at >= _PLAIN_S:
            remark(text)
            self._shown_at, self._shown = time.monotonic(), text

    def clear(self) -> None:
        """Remove the line, so that what comes next starts on a clean one."""
        if self._status:
            self._status.stop()
            self._status = None

    def _spin(self, text: str) -> None:
        from rich.console import Console
        from rich.status import Status
        from rich.text import Text

        console = self._status.console if self._status else Console(stderr=True)
        line = Text(text)
        line.truncate(max(1, console.width - 3), overflow="ellipsis")
        if self._status:
            self._status.update(line)
        else:
            self._status = Status(line, console=console)
            self._status.start()


# Tables. rich measures, wraps, aligns and colours; which columns there is room for, and how wide
# each is, is decided here, since it has no rule that keeps names whole: a cell that does not fit
# goes on below itself, a name is never broken. Columns that may be left out are left out for it,
# and a name that still does not fit ends in `…`.

_GAP = 2  # columns between two columns


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
    shown = [index for index in range(len(heads)) if index not in dropped]
    heads = [heads[index] for index in shown]
    rows = [[row[index] for index in shown] for row in rows]
    lines = _rendered(heads, rows, _fit(heads, rows, room), notes, room)
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
    while able and sum(needed) + _GAP * (len(heads) - len(dropped) - 1) > room:
        index = able.pop(0)
        dropped.add(index)
        needed[index] = 0
    return dropped


def _needed(head: Column, cells: Sequence[str]) -> int:
    """Columns below which a cell would be broken or cut where it should not be."""
    from rich.cells import cell_len

    natural = max(map(cell_len, [head.title, *cells]))
    if head.least is None:
        return natural
    if head.names:
        words = [word for cell in cells for word in cell.split()]
        return max(map(cell_len, [head.title, *words]))
    return min(natural, max(head.least, cell_len(head.title)))


def _fit(heads: Sequence[Column], rows: Sequence[Sequence[str]], room: int) -> list[int]:
    """Give every column its natural width, then take from the widest that may shrink.

    Names shrink last: down to the longest word first, which breaks none of them.
    """
    from rich.cells import cell_len

    cells = [[row[index] for row in rows] for index in range(len(heads))]
    widths = [max(map(cell_len, [head.title, *cells[index]])) for index, head in enumerate(heads)]
    gentle = [_needed(head, cells[index]) for index, head in enumerate(heads)]
    utmost = [
        widths[index] if head.least is None else min(widths[index], max(head.least, 2))
        for index, head in enumerate(heads)
    ]
    excess = sum(widths) + _GAP * (len(widths) - 1) - room
    for least in (gentle, utmost):
        while excess > 0:
            able = [index for index in range(len(heads)) if widths[index] > least[index]]
            if not able:
                break
            widths[max(able, key=lambda index: widths[index])] -= 1
            excess -= 1
    return widths


def _rendered(
    heads: Sequence[Column],
    rows: Sequence[Sequence[str]],
    widths: Sequence[int],
    notes: Sequence[str],
    room: int,
) -> list[str]:
    """The table's lines, by rich; with notes each row is a table of its own."""
    from rich.console import Console
    from rich.constrain import Constrain
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    def grid(*cells: Sequence[str]) -> Table:
        made = Table.grid(padding=(0, _GAP, 0, 0))
        for head, wide in zip(heads, widths, strict=True):
            justify: Literal["left", "right"] = "right" if head.right else "left"
            made.add_column(width=wide, justify=justify, overflow="fold")
        for row in cells:
            made.add_row(*map(_cell, row, heads, widths))
        return made

    titles = [head.title for head in heads]
    parts: list[RenderableType] = [grid(titles)] if notes else [grid(titles, *rows)]
    for row, note in zip(rows, notes, strict=bool(notes)):
        below = Constrain(Padding(Text(" ".join(note.split())), (0, 0, 0, 2 * _GAP)), room)
        parts += [grid(row), below] if note else [grid(row)]
    console = Console(
        file=StringIO(),
        width=max(room, sum(widths) + _GAP * (len(widths) - 1)),
        color_system="standard" if coloured() else None,
        force_terminal=coloured(),
    )
    with console.capture() as capture:
        console.print(*parts, sep="")
    return capture.get().removesuffix("\n").split("\n")


def _cell(text: str, head: Column, width: int) -> Text:
    from rich.text import Text

    words = (cut(word, width) if head.names else word for word in text.split())
    return Text().append(" ".join(words), PAINT.get(text))
