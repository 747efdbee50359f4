"""A session of labelling: asks, takes the answer, tells the daemon, and goes on."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from flywheel.cli import keys
from flywheel.cli.choosing import NONE, QUIT, SHOWN, SKIP, UNDO, Choice, ranked, understood
from flywheel.cli.label_words import nothing_left, summary
from flywheel.cli.screen import columns, complain, heading, prose, remark, say
from flywheel.cli.text import clean, cut, pad, plural, width
from flywheel.errors import DaemonUnreachable, FlywheelError, NotFound

if TYPE_CHECKING:
    from flywheel.cli.client import Daemon

Reader = Callable[[Sequence[Choice], Sequence[str]], str]
"""From all choices, and the names that come first, to an intent, SKIP, UNDO or QUIT."""
_WHY = {
    "gate": "for the gates",
    "audit": "audit",
    "conflict": "people differ",
    "uncertain": "the champion was unsure",
}
_CALLED = {SKIP: "skipped", UNDO: "taken back", QUIT: "done"}
_KEYS = "0 none   - skip   < undo   . quit"
_LEAST_SHOWN = 3
_LISTED = 30  # intents that are all listed where answers are typed as lines
_AROUND = 8  # rows of a terminal for the text and the keys


def session(ask: Daemon, query: Mapping[str, str], limit: int | None) -> int:
    """Ask until the queue is empty or the person has had enough; returns the exit code."""
    run = _Session(ask, query, limit)
    code = 0
    try:
        if keys.usable():
            with keys.reading() as pressed:
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

    def __init__(self, ask: Daemon, query: Mapping[str, str], limit: int | None) -> None:
        self.given: Counter[str] = Counter()
        self._ask = ask
        self._query = dict(query)
        self._left = limit
        self._choices: list[Choice] = []
        self._read: Reader = _by_line
        self._history: list[str] = []  # what each answer of this session was counted as

    def go(self, read: Reader) -> None:
        """Ask one text after another, and have `read` take each answer."""
        self._read = read
        passed: set[str] = set()
        while self._left is None or self._left > 0:
            queue = self._ask.get("labels", query=self._query).value
            self._choices = [Choice(**each) for each in queue["intents"]]
            if not any(choice.name == NONE for choice in self._choices):
                self._choices.append(Choice(name=NONE, description="no intent of these"))
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
            said = self._answer(item, max(left, 1))
            say(f"  {_CALLED.get(said, clean(said))}")
            if said == QUIT:
                return False
            if said == UNDO:
                todo.append(item)
                again = self._undo()
                if again is not None:
                    todo.append(again)
                continue
            if not self._tell(item, None if said == SKIP else said):
                passed.add(item["item"])
        return True

    def _tell(self, item: Mapping[str, Any], intent: str | None) -> bool:
        """Have the daemon keep an answer; False where it cannot be used."""
        try:
            self._ask.post("labels", value={"item": item["item"], "intent": intent})
        except DaemonUnreachable:
            raise
        except FlywheelError as error:
            complain(error)
            return False
        counted = item["kind"] if intent else "skipped"
        self.given[counted] += 1
        self._history.append(counted)
        if self._left is not None:
            self._left -= 1
        return True

    def _undo(self) -> dict[str, Any] | None:
        try:
            told = self._ask.post("labels", "undo").value
        except NotFound as error:
            complain(error)
            return None
        if self._history:
            self.given[self._history.pop()] -= 1
            self.given += Counter()
        if self._left is not None:
            self._left += 1
        if told["asked"] is None:
            remark(f"{told['item']} is taken back, and no longer asked")
        asked: dict[str, Any] | None = told["asked"]
        return asked

    def _answer(self, item: Mapping[str, Any], left: int) -> str:
        """Show a text and return what is said to it: an intent, SKIP, UNDO or QUIT."""
        why = "second opinion" if item["again"] and not item["said"] else _WHY.get(item["kind"], "")
        said = ", ".join(clean(name) for name in item["said"])
        title = f"{why}{f': {said}' if said else ''}"
        say("", *prose(f"{title} ({plural(left, 'text')} left)"), "")
        say(*(heading(line) for line in prose(clean(item["text"]), "  ")), "")
        return self._read(self._choices, [*item["said"], *item["guesses"]])


def _by_line(choices: Sequence[Choice], first: Sequence[str]) -> str:
    """Read lines until one is an answer; the end of the input ends the session."""
    found = ranked(choices, first, "")
    shown = found if len(found) <= _LISTED else found[:SHOWN]
    more = f"   ? all {len(found)}" if len(found) > len(shown) else ""
    say(*_listed(shown, columns()), f"  {_KEYS}{more}")
    while True:
        typer.echo("> ", nl=False)
        line = sys.stdin.readline()
        if not line:
            say("")
            return QUIT
        if more and line.strip() == "?":
            shown, more = found, ""
            say(*_listed(shown, columns()))
            continue
        meant = understood(line, shown, choices)
        if isinstance(meant, str):
            return meant
        if line.strip():
            names = ", ".join(meant[:SHOWN])
            remark(f"{line.strip()}: {f'which of {names}?' if names else 'no intent like this'}")


def _by_key(pressed: Iterator[str], choices: Sequence[Choice], first: Sequence[str]) -> str:
    """Read keys until they are an answer; what was typed so far narrows the list."""
    block, typed = keys.Block(), ""
    try:
        while True:
            found = ranked(choices, first, typed)
            shown = found[: _room()]
            block.draw(_menu(found, shown, typed))
            key = next(pressed, keys.END)
            meant = _meaning(key, typed, shown)
            if meant is not None:
                return meant
            typed = _edited(key, typed)
    finally:
        block.remove()


def _menu(found: Sequence[Choice], shown: Sequence[Choice], typed: str) -> list[str]:
    """The candidates, the keys, and what was typed, one row each."""
    wide = columns() - 1
    more = f"   {len(found) - len(shown)} more do not fit" if len(found) > len(shown) else ""
    keys_line = cut(f"  {_KEYS}   or type a name{more}", wide)
    return [*_listed(shown, wide, SHOWN), keys_line, cut(f"> {clean(typed)}", wide)]


def _meaning(key: str, typed: str, shown: Sequence[Choice]) -> str | None:
    """The answer that a key gives; None: it only edits what was typed."""
    if key in (keys.END, keys.UNDO):
        return QUIT if key == keys.END else UNDO
    if key == keys.ENTER:
        return shown[0].name if typed and shown else None
    if key.isascii() and key.isdigit() and 1 <= int(key) <= min(SHOWN, len(shown)):
        return shown[int(key) - 1].name
    alone = {SKIP: SKIP, UNDO: UNDO, QUIT: QUIT, "0": NONE}
    return None if typed else alone.get(key)  # within a name they are letters of it


def _edited(key: str, typed: str) -> str:
    if key == keys.BACKSPACE:
        return typed[:-1]
    if key == keys.ESCAPE:
        return ""
    return typed + key if key.isprintable() else typed


def _room() -> int:
    """Candidates that fit below a text on this terminal."""
    rows = shutil.get_terminal_size((80, 24)).lines
    return max(_LEAST_SHOWN, rows - _AROUND)


def _listed(shown: Sequence[Choice], wide: int, numbered: int | None = None) -> list[str]:
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
