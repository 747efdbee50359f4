"""What the commands write, and how: lines, sections, JSON, and progress on a terminal.

Standard output holds the answer and nothing else; progress, errors and hints go to standard
error. Colour only on a terminal, and never with `NO_COLOR` set.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time

import typer

from flywheel.cli.calling import pasteable
from flywheel.cli.text import clean, cut, wrap
from flywheel.errors import FlywheelError

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


class Progress:
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
