"""A session of labelling: shows a text, reads what a person means by it, and tells the daemon.

With a terminal a key chooses and the menu is drawn again in place; without one a line of input
does. An answer is an intent (by number, the beginning of its name, or letters of it), or to skip,
to take the last one back, or to end.
"""

from __future__ import annotations

import codecs
import os
import select
import shutil
import sys
import termios
import tty
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from flywheel.cli.screen import columns, complain, heading, prose, remark, say
from flywheel.cli.text import clean, cut, number, pad, plural, width
from flywheel.errors import DaemonUnreachable, FlywheelError, NotFound

if TYPE_CHECKING:
    from flywheel.cli.client import DaemonClient


class QuestionKind(StrEnum):
    """Why a text is asked about."""

    gate = "gate"
    first = "first"
    health = "health"
    audit = "audit"
    conflict = "conflict"
    doubted = "doubted"
    uncertain = "uncertain"


def nothing_left(queue: Mapping[str, Any]) -> list[str]:
    """What is said when there is nothing to ask, and what is missing still."""
    lines = ["nothing to label"]
    if queue["wanted"]:
        wanted = plural(queue["wanted"], "more label")
        lines.append(f"the gates want {wanted}; they come with more traffic, or from")
        lines.append("  flywheel samples import FILE --split golden")
    return lines


def summary(given: Counter[str], settled: Mapping[str, int]) -> list[str]:
    """What came of a session."""
    labels = sum(count for kind, count in given.items() if kind != "skipped")
    kinds = [*(kind.value for kind in QuestionKind), "skipped"]
    words = [f"{number(given[kind])} {kind}" for kind in kinds if given[kind]]
    lines = [plural(labels, "label") + (f": {', '.join(words)}" if words else "")]
    if settled.get("judging"):
        lines.append("the held challenger is judged again: flywheel review list")
    if settled.get("unfit"):
        unfit = plural(settled["unfit"], "text was", "texts were")
        lines.append(f"{unfit} trained on meanwhile and cannot judge")
    return lines


# The terminal: single keys, and a block of lines that is drawn again in place.

ENTER, ESCAPE, BACKSPACE, CTRL_Z, CTRL_D = "\r", "\x1b", "\x7f", "\x1a", "\x04"
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


# Which intent is meant by what was typed. Pure: no terminal, no daemon.

NONE = "none"
SKIP, UNDO, QUIT = "-", "<", "."
COMMANDS = {"skip": SKIP, "undo": UNDO, "quit": QUIT, SKIP: SKIP, UNDO: UNDO, QUIT: QUIT}
_BY_INPUT_METHOD = str.maketrans({"。": QUIT, "《": UNDO, "〈": UNDO})  # of the same keys
SHOWN = 9
"""Candidates that have a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentChoice:
    """An intent that can be chosen."""

    name: str
    description: str = ""


def ranked(choices: Sequence[IntentChoice], first: Sequence[str], typed: str) -> list[IntentChoice]:
    """Return the choices that fit what was typed, the best first.

    Args:
        choices: in the order they have otherwise.
        first: names that come before the others that fit as well.
        typed: "": all fit.

    >>> names = [Choice(name="set_alarm"), Choice(name="set_timer"), Choice(name="play_music")]
    >>> [choice.name for choice in ranked(names, ["play_music"], "")]
    ['play_music', 'set_alarm', 'set_timer']
    >>> [choice.name for choice in ranked(names, [], "tim")]
    ['set_timer']
    """
    places = {name: place for place, name in enumerate(first)}
    ordered = sorted(choices, key=lambda choice: places.get(choice.name, len(places)))
    fits = [(fit, choice) for choice in ordered if (fit := _fit(choice, _fold(typed))) is not None]
    return [choice for _, choice in sorted(fits, key=lambda pair: pair[0])]


def understood(
    line: str, shown: Sequence[IntentChoice], choices: Sequence[IntentChoice]
) -> str | list[str]:
    """Return what one line means: an intent's name, SKIP, UNDO or QUIT; else what it may mean.

    An intent's whole name comes before a command's, a number is one of those shown.
    """
    typed = line.strip()
    names = {choice.name for choice in choices}
    if typed in names:
        return typed
    typed = _plain(typed)
    if typed.casefold() in COMMANDS:
        return COMMANDS[typed.casefold()]
    if typed == "0":
        return NONE
    if typed.isascii() and typed.isdigit():
        place = int(typed[:6])
        return shown[place - 1].name if 1 <= place <= len(shown) else []
    if not typed:
        return []
    ordered = ranked(choices, (), typed)
    best = [
        choice.name for choice in ordered if _fit(choice, _fold(typed)) == _best(ordered, typed)
    ]
    return best[0] if len(best) == 1 else [choice.name for choice in ordered]


def _best(ordered: Sequence[IntentChoice], typed: str) -> int | None:
    return _fit(ordered[0], _fold(typed)) if ordered else None


def _fit(choice: IntentChoice, typed: str) -> int | None:
    """How well it fits, 0 best; None: not at all."""
    name = _fold(choice.name)
    words = name.replace("_", " ").replace("-", " ").replace(".", " ").split()
    if not typed or name == typed:
        return 0
    if name.startswith(typed):
        return 1
    if any(word.startswith(typed) for word in words):
        return 2
    if typed in name:
        return 3
    if _within(typed, name):
        return 4
    return 5 if typed in _fold(choice.description) else None


def _within(typed: str, name: str) -> bool:
    """Whether the letters stand in the name in this order."""
    rest = iter(name)
    return all(letter in rest for letter in typed if not letter.isspace())


def _plain(typed: str) -> str:
    """Full-width digits and signs, as an input method types them, as ASCII has them.

    >>> _plain("１"), _plain("。"), _plain("－")
    ('1', '.', '-')
    """
    return unicodedata.normalize("NFKC", typed).translate(_BY_INPUT_METHOD)


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold().strip()


# The session.

Reader = Callable[[Sequence[IntentChoice], Sequence[str]], str]
"""From all choices, and the names that come first, to an intent, SKIP, UNDO or QUIT."""
_WHY = {
    "gate": "for the gates",
    "first": "for a first champion",
    "health": "does it fail?",
    "audit": "audit",
    "conflict": "people differ",
    "doubted": "its label is doubted",
    "uncertain": "the champion was unsure",
}
_CALLED = {SKIP: "skipped", UNDO: "taken back", QUIT: "done"}
_KEYS = "0 none   - skip   < undo   . quit"
_LEAST_SHOWN = 3
_LISTED = 30  # intents that are all listed where answers are typed as lines
_AROUND = 8  # rows of a terminal for the text and the keys


def session(ask: DaemonClient, query: Mapping[str, str], limit: int | None) -> int:
    """Ask until the queue is empty or the person has had enough; returns the exit code."""
    run = _Session(ask, query, limit)
    code = 0
    try:
        if usable():
            with reading() as pressed:
                run.go(partial(_by_key, pressed))
        else:
            run.go(_by_line)
    except KeyboardInterrupt:
        ask.close()  # it may have been cut off within a request
        say("")
        code = 130
    if run.given:
        say(*summary(run.given, ask.post("labels", "settle").value))
    return code


class _Session:
    """One person's way through the queue."""

    def __init__(self, ask: DaemonClient, query: Mapping[str, str], limit: int | None) -> None:
        self.given: Counter[str] = Counter()
        self._ask = ask
        self._query = dict(query)
        self._left = limit
        self._choices: list[IntentChoice] = []
        self._read: Reader = _by_line
        self._settled = False
        self._history: list[str] = []  # what each answer of this session was counted as

    def go(self, read: Reader) -> None:
        """Ask one text after another, and have `read` take each answer."""
        self._read = read
        passed: set[str] = set()
        while self._left is None or self._left > 0:
            queue = self._ask.get("labels", query=self._query).value
            self._choices = [IntentChoice(**each) for each in queue["intents"]]
            if not any(choice.name == NONE for choice in self._choices):
                self._choices.append(IntentChoice(name=NONE, description="no intent of these"))
            items = [item for item in queue["items"] if item["item"] not in passed]
            if not items:
                say(*nothing_left(queue))
                return
            if not self._some(items, queue["waiting"], passed):
                return

    def _some(
        self, items: list[dict[str, Any]], waiting: Mapping[str, int], passed: set[str]
    ) -> bool:
        """Ask what was fetched; False when the person has had enough."""
        todo = list(reversed(items))
        before = sum(self.given.values())
        while todo and (self._left is None or self._left > 0):
            item = todo.pop()
            left = sum(waiting.values()) - (sum(self.given.values()) - before)
            answer = self._answer(item, max(left, 1))
            say(f"  {_CALLED.get(answer, clean(answer))}")
            if answer == QUIT:
                return False
            if answer == UNDO:
                todo.append(item)
                again = self._undo()
                if again is not None:
                    todo.append(again)
                continue
            if not self._tell(item, None if answer == SKIP else answer):
                passed.add(item["item"])
            if self._settled:  # it was the last that somebody waited for: the rest is another queue
                if item["kind"] == "first":
                    say("", "that is enough for a first champion: flywheel turn start --wait")
                self._settled = False
                return True
        return True

    def _tell(self, item: Mapping[str, Any], intent: str | None) -> bool:
        """Have the daemon keep an answer; False where it cannot be used."""
        try:
            reply = self._ask.post("labels", value={"item": item["item"], "intent": intent})
        except DaemonUnreachable:
            raise
        except FlywheelError as error:
            complain(error)
            return False
        self._settled = bool(reply.value.get("settled"))
        counted = item["kind"] if intent else "skipped"
        self.given[counted] += 1
        self._history.append(counted)
        if self._left is not None:
            self._left -= 1
        return True

    def _undo(self) -> dict[str, Any] | None:
        try:
            undone = self._ask.post("labels", "undo").value
        except NotFound as error:
            complain(error)
            return None
        if self._history:
            self.given[self._history.pop()] -= 1
            self.given += Counter()
        if self._left is not None:
            self._left += 1
        if undone["asked"] is None:
            remark(f"{undone['item']} is taken back, and no longer asked")
        asked: dict[str, Any] | None = undone["asked"]
        return asked

    def _answer(self, item: Mapping[str, Any], left: int) -> str:
        """Show a text and return what is said to it: an intent, SKIP, UNDO or QUIT."""
        why = "second opinion" if item["again"] and not item["said"] else _WHY.get(item["kind"], "")
        names = ", ".join(clean(name) for name in item["said"])
        title = f"{why}{f': {names}' if names else ''}"
        say("", *prose(f"{title} ({plural(left, 'text')} left)"), "")
        say(*(heading(line) for line in prose(clean(item["text"]), "  ")), "")
        return self._read(self._choices, [*item["said"], *item["guesses"]])


def _by_line(choices: Sequence[IntentChoice], first: Sequence[str]) -> str:
    """Read lines until one is an answer; the end of the input ends the session."""
    ordered = ranked(choices, first, "")
    shown = ordered if len(ordered) <= _LISTED else ordered[:SHOWN]
    more = f"   ? all {len(ordered)}" if len(ordered) > len(shown) else ""
    say(*_listed(shown, columns()), f"  {_KEYS}{more}")
    while True:
        typer.echo("> ", nl=False)
        line = sys.stdin.readline()
        if not line:
            say("")
            return QUIT
        if more and _plain(line.strip()) == "?":
            shown, more = ordered, ""
            say(*_listed(shown, columns()))
            continue
        meant = understood(line, shown, choices)
        if isinstance(meant, str):
            return meant
        if line.strip():
            names = ", ".join(meant[:SHOWN])
            remark(f"{line.strip()}: {f'which of {names}?' if names else 'no intent like this'}")


def _by_key(pressed: Iterator[str], choices: Sequence[IntentChoice], first: Sequence[str]) -> str:
    """Read keys until they are an answer; what was typed so far narrows the list."""
    block, typed = Block(), ""
    try:
        while True:
            ordered = ranked(choices, first, typed)
            shown = ordered[: _room()]
            block.draw(_menu(ordered, shown, typed))
            key = next(pressed, CTRL_D)
            meant = _meaning(key, typed, shown)
            if meant is not None:
                return meant
            typed = _edited(key, typed)
    finally:
        block.remove()


def _menu(ordered: Sequence[IntentChoice], shown: Sequence[IntentChoice], typed: str) -> list[str]:
    """The candidates, the keys, and what was typed, one row each."""
    wide = columns() - 1
    more = f"   {len(ordered) - len(shown)} more do not fit" if len(ordered) > len(shown) else ""
    keys_line = cut(f"  {_KEYS}   or type a name{more}", wide)
    return [*_listed(shown, wide, SHOWN), keys_line, cut(f"> {clean(typed)}", wide)]


def _meaning(key: str, typed: str, shown: Sequence[IntentChoice]) -> str | None:
    """The answer that a key gives; None: it only edits what was typed."""
    if key in (CTRL_D, CTRL_Z):
        return QUIT if key == CTRL_D else UNDO
    if key == ENTER:
        return shown[0].name if typed and shown else None
    key = _plain(key)
    if key.isascii() and key.isdigit() and 1 <= int(key) <= min(SHOWN, len(shown)):
        return shown[int(key) - 1].name
    alone = {SKIP: SKIP, UNDO: UNDO, QUIT: QUIT, "0": NONE}
    return None if typed else alone.get(key)  # within a name they are letters of it


def _edited(key: str, typed: str) -> str:
    if key == BACKSPACE:
        return typed[:-1]
    if key == ESCAPE:
        return ""
    return typed + key if key.isprintable() else typed


def _room() -> int:
    """Candidates that fit below a text on this terminal."""
    rows = shutil.get_terminal_size((80, 24)).lines
    return max(_LEAST_SHOWN, rows - _AROUND)


def _listed(shown: Sequence[IntentChoice], wide: int, numbered: int | None = None) -> list[str]:
    """The candidates with their numbers, names aligned; those after `numbered` have none."""
    names = [clean(choice.name) for choice in shown]
    left = min(max(map(width, names), default=0), wide // 2)
    places = [
        str(place) if numbered is None or place <= numbered else ""
        for place in range(1, len(shown) + 1)
    ]
    digits = max(map(len, places), default=0)
    return [
        cut(f"  {place:>{digits}} {pad(name, left)}  {clean(choice.description)}".rstrip(), wide)
        for place, name, choice in zip(places, names, shown, strict=True)
    ]
