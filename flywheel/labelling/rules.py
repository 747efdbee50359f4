"""Rules of labelling: queue order, random samples of predictions, and the agreed label.

Sampling: an id's lot is a hash of the draw's name and the id. The same predictions are drawn by
every caller at every time, whatever their text or answer. The draw's name in the hash keeps the
sample unbiased where a producer samples by a hash of its own.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["gate", "first", "health", "audit", "conflict", "doubted", "uncertain"]
KINDS: tuple[Kind, ...] = ("gate", "first", "health", "audit", "conflict", "doubted", "uncertain")
"""Most valuable first: labels that gates wait for, labels that a first champion is made of, labels
that tell whether an intent fails, the audit sample of production, texts on which raters disagree,
labels that curation doubts, texts with low confidence."""

BLIND: frozenset[str] = frozenset({"gate", "first", "health", "audit"})
"""Kinds whose labels are evidence on models: the labeller sees no model's answer."""

_DIGITS = 32  # of a lot, in hex


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One text to be labelled.

    Raises:
        ValueError: an item of a blind kind has guesses.
    """

    id: str  # "KIND:" and the prediction's id, or for a conflict a hash of the text
    kind: Kind
    text: str
    prediction: str | None = None  # its id
    guesses: tuple[str, ...] = ()  # likeliest first; never for a blind kind
    said: tuple[str, ...] = ()  # differing labels by people or raters
    again: bool = False  # answered already; this is a second opinion or a dispute
    rank: tuple[float, str] = (0.0, "")  # sort key within its kind

    def __post_init__(self) -> None:
        if self.kind in BLIND and self.guesses:
            raise ValueError(f"item {self.id}: a model's answer must not be shown with it")


def item_id(kind: Kind, key: str) -> str:
    """Return the item's id, "KIND:KEY"."""
    return f"{kind}:{key}"


def kind_and_key(item: str) -> tuple[Kind, str]:
    """Return (kind, key) of an item id.

    Raises:
        ValueError: `item` is not an item id.
    """
    kind, colon, key = item.partition(":")
    if kind not in KINDS or not colon or not key:
        raise ValueError(f"`{item}` names no item")
    return kind, key


def ordered(items: Iterable[Item]) -> list[Item]:
    """Deduplicate items and sort them by kind, second opinions first, then rank.

    Second opinions come first since they are few, and new items of a kind never end.
    """
    unique = {item.id: item for item in items}
    return sorted(
        unique.values(),
        key=lambda item: (KINDS.index(item.kind), not item.again, item.rank, item.id),
    )


# Random samples.


def lot(draw: str, key: str) -> str:
    """Return 32 hex digits, uniform over keys. The store computes the same in SQL."""
    draw_and_key = f"{draw}:{key}".encode("utf-8", "surrogatepass")
    return hashlib.md5(draw_and_key, usedforsecurity=False).hexdigest()


def bar(share: float) -> str:
    """Return the threshold below which the lots of a share (0..1) of all keys fall.

    >>> bar(0.5)
    '80000000000000000000000000000000'
    """
    if share >= 1:
        return "g"  # above every hex digit
    range_size = 16**_DIGITS
    return f"{int(max(0.0, share) * range_size):0{_DIGITS}x}"


def drawn(draw: str, key: str, share: float) -> bool:
    """Whether a key is in the sample of this share; a larger share holds the smaller one."""
    return lot(draw, key) < bar(share)


# Where the labels of traffic go that a first champion is made of.

Dealt = Literal["train", "dev", "golden"]
SHARES: Mapping[Dealt, float] = {"train": 0.6, "dev": 0.2, "golden": 0.2}
"""Of the texts that are asked about before there is a champion."""


def dealt(text: str) -> Dealt:
    """Return the split of a text by lot: a hash of it, so that a repeat is dealt alike.

    Args:
        text: its normal form, `curation.normalise`.

    >>> dealt("wake me at seven"), dealt("what is my balance")
    ('dev', 'train')
    """
    place, below = lot("deal", text), 0.0
    for split, share in SHARES.items():
        below += share
        if place < bar(below):
            return split
    return "golden"  # the shares are one in sum, but for rounding


# Agreed labels.


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One person's answer to one item; withdrawn answers are left out."""

    number: int  # increases with time
    item: str
    person: str
    label: str | None  # None: skipped
    resolves: bool = False  # given to an open dispute, with the differing labels in view


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """State of one item: agreed label, dispute, and who answered."""

    label: str | None  # the agreed label; None: no label yet, or a dispute
    disputed: bool
    labels: tuple[str, ...]  # all distinct labels, sorted
    labelled_by: frozenset[str]
    skipped_by: frozenset[str]


def standings(words: Iterable[Word]) -> dict[str, Standing]:
    """Return the standing of every item.

    The last answer of each person counts; a person who skips a dispute keeps their earlier label.
    The agreed label is the latest resolution of a dispute, otherwise the plurality. A tie is a
    dispute.
    """
    by_item: dict[str, list[Word]] = {}
    for word in sorted(words, key=lambda word: word.number):
        by_item.setdefault(word.item, []).append(word)
    return {item: _standing(item_words) for item, item_words in by_item.items()}


def is_open(standing: Standing | None, person: str, *, twice: bool) -> bool:
    """Whether an item is in a person's queue; nobody is asked twice, except to resolve a dispute.

    Args:
        standing: None: no answers yet.
        person: the owner of the queue.
        twice: the item is in the sample that two people label.
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
    """Return the first two independent labels of each item that two people labelled.

    Answers to a dispute do not count: their authors had seen the other labels.
    """
    independent: dict[str, dict[str, str]] = {}
    for word in sorted(words, key=lambda word: word.number):
        if word.label is not None and not word.resolves:
            independent.setdefault(word.item, {})[word.person] = word.label
    pairs = []
    for item in sorted(independent):
        first_label, *other_labels = independent[item].values()
        if other_labels:
            pairs.append((first_label, other_labels[0]))
    return pairs


def _standing(item_words: Sequence[Word]) -> Standing:
    last_words = {word.person: word for word in item_words}
    counted = {
        word.person: word for word in item_words if word.label is not None or not word.resolves
    }
    labelled = [word for word in counted.values() if word.label is not None]
    labels = [word.label for word in labelled if word.label is not None]
    resolutions = [word for word in labelled if word.resolves]
    resolution = max(resolutions, key=lambda word: word.number, default=None)
    label = resolution.label if resolution else _plurality(labels)
    return Standing(
        label=label,
        disputed=label is None and len(set(labels)) > 1,
        labels=tuple(sorted(set(labels))),
        labelled_by=frozenset(name for name, word in counted.items() if word.label is not None),
        skipped_by=frozenset(name for name, word in last_words.items() if word.label is None),
    )


def _plurality(labels: Sequence[str]) -> str | None:
    """The most frequent label; None on a tie or without labels."""
    winner, runner_up, *_ = [*Counter(labels).most_common(2), ("", 0), ("", 0)]
    return winner[0] if winner[1] > runner_up[1] else None
