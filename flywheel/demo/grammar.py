"""What people say to the demo's assistant: every sentence of starter/grammar.toml, with its truth.

Production traffic and the scripted teacher draw from here. The seeds, dev and golden sentences of
the starter set are written by hand; none of them, nor a near-duplicate of one, comes from here.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from flywheel.config import load_intents
from flywheel.records import NONE

STARTER = Path(__file__).parent / "starter"
"""Folder of the starter set: intents.toml, grammar.toml, and seed, dev and golden.jsonl."""

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """One sentence with its true label."""

    text: str
    intent: str
    arguments: Mapping[str, str] = field(default_factory=dict)  # values as said in `text`


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """The sentences of one line of the grammar."""

    intent: str
    near: str | None  # the intent whose wording it resembles; None for plain wording
    utterances: tuple[Utterance, ...]


@functools.cache
def patterns(intent: str) -> tuple[Pattern, ...]:
    """Return the patterns of an intent in the grammar's order; none for an unknown intent."""
    return _read().get(intent, ())


def intents() -> tuple[str, ...]:
    """Return the names the grammar knows: those of intents.toml, and `none`."""
    return tuple(_read())


def utterances(intent: str) -> tuple[Utterance, ...]:
    """Return every sentence of an intent, each once."""
    found = (said for pattern in patterns(intent) for said in pattern.utterances)
    return tuple({said.text: said for said in found}.values())


def draw(chance: Random, intent: str, hard: float, near: str | None = None) -> Utterance:
    """Return a sentence: its wording first, so that a pattern with many sentences is not commoner.

    Args:
        chance: source of randomness.
        intent: one of `intents()`.
        hard: share of sentences worded like another intent's, 0..1.
        near: prefer the wording of this intent among the hard ones, where there is some.
    """
    known = patterns(intent)
    plain = [pattern for pattern in known if pattern.near is None]
    hard_ones = [pattern for pattern in known if pattern.near is not None]
    close = [pattern for pattern in hard_ones if pattern.near == near] or hard_ones
    pattern = chance.choice(close if chance.random() < hard else plain)
    return chance.choice(pattern.utterances)


@functools.cache
def _read() -> Mapping[str, tuple[Pattern, ...]]:
    parameters = {i.name: i.argument_names() for i in load_intents(STARTER / "intents.toml")}
    parameters[NONE] = frozenset()
    grammar = tomllib.loads((STARTER / "grammar.toml").read_text(encoding="utf-8"))
    found = {}
    for entry in grammar["intent"]:
        name = entry["name"]
        lines = [(None, say) for say in entry["plain"]]
        lines += [(hard["near"], hard["say"]) for hard in entry["hard"]]
        found[name] = tuple(
            Pattern(
                intent=name,
                near=near,
                utterances=tuple(
                    Utterance(text=text, intent=name, arguments=arguments)
                    for text, arguments in _expand(say, grammar["slots"], parameters[name])
                ),
            )
            for near, say in lines
        )
    return found


def _expand(
    say: str, slots: Mapping[str, Sequence[str]], arguments: frozenset[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every sentence of a pattern, with the values of the slots that are arguments."""
    if choice := _CHOICE.search(say):
        for way in choice[1].split("|"):
            yield from _expand(say[: choice.start()] + way + say[choice.end() :], slots, arguments)
        return
    slot = _SLOT.search(say)
    if slot is None:
        yield " ".join(say.split()), {}
        return
    for value in slots[slot[1]]:
        filled = say[: slot.start()] + value + say[slot.end() :]
        for text, found in _expand(filled, slots, arguments):
            yield text, ({slot[1]: value} if slot[1] in arguments else {}) | found
