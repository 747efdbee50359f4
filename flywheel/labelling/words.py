"""What several people said of one item, and what it comes to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


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
