"""What is asked, in which order, which predictions are drawn, and what several answers come to."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["gate", "audit", "conflict", "uncertain"]
KINDS: tuple[Kind, ...] = ("gate", "audit", "conflict", "uncertain")
"""From the most valuable: what lets a held challenger be decided; what says how production does;
what raters disagree on; what the model is least sure of."""

BLIND: frozenset[str] = frozenset({"gate", "audit"})
"""Kinds whose labels are evidence on models: who labels them sees no model's answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One text that a person is asked about."""

    id: str  # "KIND:" and the prediction's id, or for a conflict a hash of the text
    kind: Kind
    text: str
    prediction: str | None = None
    guesses: tuple[str, ...] = ()  # likeliest first; never for a blind kind
    said: tuple[str, ...] = ()  # labels that people or raters gave it and that differ
    again: bool = False  # somebody has answered it; this is a second opinion, or the dispute
    rank: tuple[float, str] = (0.0, "")  # within its kind, the least first

    def __post_init__(self) -> None:
        if self.kind in BLIND and self.guesses:
            raise ValueError(f"item {self.id}: a model's answer must not be shown with it")


def item_id(kind: Kind, key: str) -> str:
    """Return the name of what is asked."""
    return f"{kind}:{key}"


def kind_and_key(item: str) -> tuple[Kind, str]:
    """Return what `item_id` was given.

    Raises:
        ValueError: it is no item's name.
    """
    kind, colon, key = item.partition(":")
    if kind not in KINDS or not colon or not key:
        raise ValueError(f"`{item}` names no item")
    return kind, key


def ordered(items: Iterable[Item]) -> list[Item]:
    """Return each item once, by value: by kind, second opinions first, then by rank.

    Second opinions are few, and would never be asked behind a stream that does not end.
    """
    once = {item.id: item for item in items}
    return sorted(
        once.values(), key=lambda item: (KINDS.index(item.kind), not item.again, item.rank, item.id)
    )


# Drawing lots: which predictions are in a sample, the same ones whoever asks and whenever.
#
# A lot is a hash of the id alone, so it knows neither what was said nor what was answered; and it
# has the name of the draw in it, so that a producer who samples by a hash of its own is no bias.

_DIGITS = 32


def lot(draw: str, key: str) -> str:
    """Return 32 hex digits, uniform over keys. The store computes the same in SQL."""
    named = f"{draw}:{key}".encode("utf-8", "surrogatepass")
    return hashlib.md5(named, usedforsecurity=False).hexdigest()


def bar(share: float) -> str:
    """Return the hex digits below which the lots of a share of all keys fall; 0..1.

    >>> bar(0.5)
    '80000000000000000000000000000000'
    """
    if share >= 1:
        return "g"  # above every hex digit
    whole = 16**_DIGITS
    return f"{int(max(0.0, share) * whole):0{_DIGITS}x}"


def drawn(draw: str, key: str, share: float) -> bool:
    """Whether a key is in the sample of this share; a larger share holds the smaller one."""
    return lot(draw, key) < bar(share)


# What several people said of one item, and what it comes to.


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One person's word on one item; an undone one is not among them."""

    number: int  # in the order in which they were said
    item: str
    person: str
    label: str | None  # None: skipped
    resolves: bool = False  # it was said to an open dispute, with both labels in view


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the words on one item come to."""

    label: str | None  # None: nobody labelled it, or people differ
    disputed: bool
    labels: tuple[str, ...]  # all that were given, sorted
    labelled_by: frozenset[str]
    skipped_by: frozenset[str]


def standings(words: Iterable[Word]) -> dict[str, Standing]:
    """Return what every item comes to.

    Of one person the last word on an item counts, but who passes a dispute on keeps what they
    said. The label is what a dispute was resolved to,
    otherwise what most people said; where as many said something else, it is disputed.
    """
    by_item: dict[str, list[Word]] = {}
    for word in sorted(words, key=lambda word: word.number):
        by_item.setdefault(word.item, []).append(word)
    return {item: _standing(said) for item, said in by_item.items()}


def is_open(standing: Standing | None, person: str, *, twice: bool) -> bool:
    """Whether a person is asked an item: nobody is asked twice, except to resolve a dispute.

    Args:
        standing: None: nobody said anything yet.
        person: who would be asked.
        twice: the item is one of those that two people are asked.
    """
    if standing is None:
        return True
    if person in standing.skipped_by:
        return False
    if standing.disputed:
        return True
    if person in standing.labelled_by:
        return False
    return not standing.labelled_by or (twice and len(standing.labelled_by) < 2)


def judged_twice(words: Iterable[Word]) -> list[tuple[str, str]]:
    """Return, for each item that two people labelled by themselves, the first two labels.

    Words that resolve a dispute do not count: whoever said them had seen the others'.
    """
    own: dict[str, dict[str, str]] = {}
    for word in sorted(words, key=lambda word: word.number):
        if word.label is not None and not word.resolves:
            own.setdefault(word.item, {})[word.person] = word.label
    pairs = []
    for item in sorted(own):
        first, *others = own[item].values()
        if others:
            pairs.append((first, others[0]))
    return pairs


def _standing(said: Sequence[Word]) -> Standing:
    last = {word.person: word for word in said}
    votes = {word.person: word for word in said if word.label is not None or not word.resolves}
    given = [word for word in votes.values() if word.label is not None]
    labels = [word.label for word in given if word.label is not None]
    resolving = [word for word in given if word.resolves]
    newest = max(resolving, key=lambda word: word.number, default=None)
    label = newest.label if newest else _most(labels)
    return Standing(
        label=label,
        disputed=label is None and len(set(labels)) > 1,
        labels=tuple(sorted(set(labels))),
        labelled_by=frozenset(name for name, word in votes.items() if word.label is not None),
        skipped_by=frozenset(name for name, word in last.items() if word.label is None),
    )


def _most(labels: Sequence[str]) -> str | None:
    """What more people said than anything else; None on a tie."""
    first, second, *_ = [*Counter(labels).most_common(2), ("", 0), ("", 0)]
    return first[0] if first[1] > second[1] else None
