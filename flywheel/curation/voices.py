"""Which raters are independent of one another: raters whose labels coincide are one voice.

Pure. Two people who use a system on their own say different things. Raters who work together give
the same labels to the same texts, and so confirm one another: whatever counts raters must count
voices. Texts that many people say are no sign of anything, so each coincidence is held against
how often the two would coincide by chance.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from flywheel.metrics.distributions import gammainc
from flywheel.records import Sample
from flywheel.scripts import word_set

_FALSE_ALARM_RATE = 0.05  # chance that an independent rater is taken for a part of any voice
_LEAST = 3  # coincidences of two raters below which nothing follows
_POPULAR = 50  # raters of one label of one text; above it, it says nothing on any two of them

UNNAMED = ""
"""The voice of all labels without a rater: nothing shows that two of them are two people's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Voices:
    """Raters, and the voice that each belongs to."""

    of_rater: Mapping[str, str] = field(default_factory=dict)  # by rater: the first of its voice
    trusted: frozenset[str] = frozenset()  # raters whose word alone is enough

    @property
    def count(self) -> int:
        """Number of independent voices, labels without a rater left out."""
        return len(set(self.of_rater.values()))

    @property
    def together(self) -> int:
        """Number of raters who share their voice with another."""
        sizes = Counter(self.of_rater.values())
        return sum(size for size in sizes.values() if size > 1)

    def of(self, sample: Sample) -> str:
        """Voice of the rater behind a sample; `UNNAMED` where there is none."""
        rater = str(sample.provenance.get("rater") or UNNAMED)
        return self.of_rater.get(rater, rater)


def voices(candidates: Sequence[Sample], trusted: Collection[str] = ()) -> Voices:
    """Group the raters behind feedback by whether their labels coincide more often than by chance.

    Two labels coincide when they are equal and their texts have the same words. By chance, a
    rater's label coincides with another's in proportion to how many labels the other gave and to
    how many raters gave that label to that text. Two raters are one voice when they coincide at
    least three times and the Poisson tail is at most 5 %, Bonferroni-corrected for the number of
    raters. Trusted raters are never put together with anybody.

    Args:
        candidates: all of them, also those that are refused; other origins are ignored.
        trusted: raters named in the configuration.
    """
    items: dict[tuple[frozenset[str], str], set[str]] = defaultdict(set)
    for sample in candidates:
        rater = str(sample.provenance.get("rater") or UNNAMED)
        if sample.origin == "feedback" and rater != UNNAMED:
            items[word_set(sample.text), sample.intent].add(rater)
    volumes = Counter(rater for raters in items.values() for rater in raters)
    group = {rater: rater for rater in volumes}
    for first, second in _coinciding(items, volumes):
        if first not in trusted and second not in trusted:
            low, high = sorted((_root(group, first), _root(group, second)))
            group[high] = low
    return Voices(
        of_rater={rater: _root(group, rater) for rater in sorted(group)},
        trusted=frozenset(trusted),
    )


def _coinciding(
    items: Mapping[tuple[frozenset[str], str], set[str]], volumes: Mapping[str, int]
) -> list[tuple[str, str]]:
    """Pairs of raters whose labels coincide far more often than by chance."""
    shared: Counter[tuple[str, str]] = Counter()
    others: Counter[str] = Counter()  # by rater: coincidences of its labels with anybody's
    for raters in items.values():
        for rater in raters:
            others[rater] += len(raters) - 1
        if 2 <= len(raters) <= _POPULAR:
            shared.update(combinations(sorted(raters), 2))
    total = sum(volumes.values())
    level = _FALSE_ALARM_RATE / max(1, len(volumes))
    pairs = []
    for (first, second), count in sorted(shared.items()):
        if count >= _LEAST:
            by_chance = max(
                others[a] * volumes[b] / (total - volumes[a])
                for a, b in ((first, second), (second, first))
            )
            if gammainc(count, by_chance) <= level:  # P(Poisson(by_chance) >= count)
                pairs.append((first, second))
    return pairs


def _root(group: dict[str, str], rater: str) -> str:
    while group[rater] != rater:
        rater = group[rater]
    return rater


def needed(independent: int, share: float, count: int) -> int:
    """Return how many voices it takes to teach something new: a floor and a share of all.

    >>> needed(3, 0.10, 20), needed(3, 0.10, 53), needed(3, 0.10, 400)
    (3, 6, 41)
    """
    return max(independent, math.floor(share * count) + 1)
