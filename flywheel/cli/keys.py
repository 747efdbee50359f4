"""Single keys from a terminal, and a block of lines that is drawn again in place."""

from __future__ import annotations

import codecs
import os
import select
import sys
import termios
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import typer

ENTER, ESCAPE, BACKSPACE, UNDO, END = "\r", "\x1b", "\x7f", "\x1a", "\x04"
_SEQUENCE_S = 0.03  # the rest of an arrow key's sequence follows at once
_LAST = (b"@", b"~")  # between these is a sequence's last byte


def usable() -> bool:
    """Whether keys can be read one by one and lines be drawn again."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


@contextmanager
def reading() -> Iterator[Iterator[str]]:
    """Give the keys as they are pressed, and leave the terminal as it was.

    Ctrl-C stays an interrupt; Ctrl-Z is a key. What moves the cursor is left out.
    """
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal, termios.TCSADRAIN)
        during = termios.tcgetattr(terminal)
        during[6][termios.VSUSP] = b"\0"
        termios.tcsetattr(terminal, termios.TCSADRAIN, during)
        yield _keys(terminal)
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _keys(terminal: int) -> Iterator[str]:
    decode = codecs.getincrementaldecoder("utf-8")("ignore").decode
    while byte := os.read(terminal, 1):
        key = decode(byte)
        if key == ESCAPE and select.select([terminal], [], [], _SEQUENCE_S)[0]:
            _pass_over(terminal)
        elif key:
            yield ENTER if key == "\n" else BACKSPACE if key == "\b" else key


def _pass_over(terminal: int) -> None:
    """Read the rest of an arrow's or a function key's sequence, and nothing behind it."""
    if os.read(terminal, 1) in (b"[", b"O"):
        while (byte := os.read(terminal, 1)) and not _LAST[0] <= byte <= _LAST[1]:
            pass


class Block:
    """Lines at the end of the screen that are replaced by others."""

    def __init__(self) -> None:
        self._height = 0

    def draw(self, lines: Sequence[str]) -> None:
        """Show `lines`, each of at most one row, in place of the last ones."""
        up = f"\x1b[{self._height}A" if self._height else ""
        typer.echo(f"\r{up}\x1b[J" + "".join(f"{line}\n" for line in lines), nl=False)
        self._height = len(lines)

    def remove(self) -> None:
        """Leave what was above, and nothing of the block."""
        self.draw(())
