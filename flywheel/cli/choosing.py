"""Which intent is meant by what was typed: a number, the beginning of a name, or letters of it.

Pure: no terminal, no daemon.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

NONE = "none"
SKIP, UNDO, QUIT = "-", "<", "."
COMMANDS = {"skip": SKIP, "undo": UNDO, "quit": QUIT, SKIP: SKIP, UNDO: UNDO, QUIT: QUIT}
SHOWN = 9
"""Candidates that have a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """An intent that can be chosen."""

    name: str
    description: str = ""


def ranked(choices: Sequence[Choice], first: Sequence[str], typed: str) -> list[Choice]:
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


def understood(line: str, shown: Sequence[Choice], choices: Sequence[Choice]) -> str | list[str]:
    """Return what one line means: an intent's name, SKIP, UNDO or QUIT; else what it may mean.

    An intent's whole name comes before a command's, a number is one of those shown.
    """
    typed = line.strip()
    names = {choice.name for choice in choices}
    if typed in names:
        return typed
    if typed.casefold() in COMMANDS:
        return COMMANDS[typed.casefold()]
    if typed == "0":
        return NONE
    if typed.isascii() and typed.isdigit():
        place = int(typed[:6])
        return shown[place - 1].name if 1 <= place <= len(shown) else []
    if not typed:
        return []
    found = ranked(choices, (), typed)
    best = [choice.name for choice in found if _fit(choice, _fold(typed)) == _best(found, typed)]
    return best[0] if len(best) == 1 else [choice.name for choice in found]


def _best(found: Sequence[Choice], typed: str) -> int | None:
    return _fit(found[0], _fold(typed)) if found else None


def _fit(choice: Choice, typed: str) -> int | None:
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


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold().strip()
