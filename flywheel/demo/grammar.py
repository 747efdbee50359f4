"""The demo's utterances: every sentence of a starter's grammar.toml with its true label.

Production traffic and the scripted teacher use them. The seed, dev and golden sentences of the
starter sets are written by hand; the grammar produces none of them, and no near-duplicate of one.
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
"""Folder of the English starter set: intents.toml, grammar.toml, seed, dev and golden.jsonl."""

STARTERS = {"en": STARTER, "zh": STARTER / "zh"}
"""Folders of the starter sets by language; their intents have the same names."""

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """One sentence with its true label."""

    text: str
    intent: str
    arguments: Mapping[str, str] = field(default_factory=dict)  # values as written in `text`


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """All sentences of one line of the grammar."""

    intent: str
    near: str | None  # the intent whose wording it resembles; None for plain wording
    utterances: tuple[Utterance, ...]


@dataclass(frozen=True, slots=True)
class Grammar:
    """The sentences of one language."""

    _patterns: Mapping[str, tuple[Pattern, ...]]  # by intent

    def patterns(self, intent: str) -> tuple[Pattern, ...]:
        """Return the patterns of an intent in the grammar's order; none for an unknown intent."""
        return self._patterns.get(intent, ())

    def intents(self) -> tuple[str, ...]:
        """Return the names the grammar knows: those of intents.toml, and `none`."""
        return tuple(self._patterns)

    def utterances(self, intent: str) -> tuple[Utterance, ...]:
        """Return every sentence of an intent, deduplicated by text."""
        every = (sentence for pattern in self.patterns(intent) for sentence in pattern.utterances)
        return tuple({sentence.text: sentence for sentence in every}.values())

    def draw(self, chance: Random, intent: str, hard: float, near: str | None = None) -> Utterance:
        """Return a random sentence: a pattern is drawn first, then one of its sentences.

        So a pattern with many sentences is not drawn more often.

        Args:
            chance: source of randomness.
            intent: one of `intents()`.
            hard: share of sentences worded like another intent's, 0..1.
            near: prefer hard patterns worded like this intent, where there are any.
        """
        candidates = self.patterns(intent)
        plain = [pattern for pattern in candidates if pattern.near is None]
        hard_ones = [pattern for pattern in candidates if pattern.near is not None]
        preferred = [pattern for pattern in hard_ones if pattern.near == near] or hard_ones
        pattern = chance.choice(preferred if chance.random() < hard else plain)
        return chance.choice(pattern.utterances)


@functools.cache
def grammar(language: str = "en") -> Grammar:
    """Return the grammar of a language, one of `STARTERS`."""
    folder = STARTERS[language]
    parameters = {i.name: i.argument_names() for i in load_intents(folder / "intents.toml")}
    parameters[NONE] = frozenset()
    written = tomllib.loads((folder / "grammar.toml").read_text(encoding="utf-8"))
    by_intent = {}
    for entry in written["intent"]:
        name = entry["name"]
        lines = [(None, say) for say in entry["plain"]]
        lines += [(hard["near"], hard["say"]) for hard in entry["hard"]]
        by_intent[name] = tuple(
            Pattern(
                intent=name,
                near=near,
                utterances=tuple(
                    Utterance(text=text, intent=name, arguments=arguments)
                    for text, arguments in _expand(say, written["slots"], parameters[name])
                ),
            )
            for near, say in lines
        )
    return Grammar(by_intent)


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
        for text, rest in _expand(filled, slots, arguments):
            yield text, ({slot[1]: value} if slot[1] in arguments else {}) | rest
