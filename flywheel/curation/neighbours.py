"""Near-duplicate search: all pairs of texts that share enough words.

A pair of word sets x, y with Jaccard index t or more shares at least ceil(t·|x|) words; so when
the words of every text are put in one order, the pair meets within the first |x| - ceil(t·|x|) + 1
words of each. Rare words first makes those prefixes meet seldom otherwise.

Source: Chaudhuri, Ganti and Kaushik 2006 (prefix filter); Bayardo, Ma and Srikant 2007.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from flywheel.curation.normalize import jaccard, normalise, word_set

_ROUNDING = 1e-9  # 0.7 * 10 is 7.000000000000001: its ceiling is 7


class Near(NamedTuple):
    """A pair: position in `texts`, position in `against`, and how similar they are (0..1)."""

    i: int
    j: int
    similarity: float


class TextForm(NamedTuple):
    """What a text is compared by."""

    normal: str
    words: frozenset[str]


def form(text: str) -> TextForm:
    """Return what `text` is compared by; worth keeping where a text is looked up twice."""
    return TextForm(normalise(text), word_set(text))


def word_counts(forms: Iterable[TextForm]) -> Counter[str]:
    """Return in how many forms each word is."""
    return Counter(word for given in forms for word in given.words)


def near_duplicates(texts: Sequence[str], against: Sequence[str], threshold: float) -> list[Near]:
    """Return every pair of equal normal form, or of word-set Jaccard `threshold` or more.

    15,000 utterances against 5,000 take about half a second on one core at .8; sentences of a
    grammar with few words, where everything is near everything, about nine.

    Args:
        texts: looked up; `Near.i` counts here.
        against: searched; `Near.j` counts here.
        threshold: above 0, up to 1.

    Returns:
        Pairs ordered by (i, j).

    Raises:
        ValueError: `threshold` is out of range.
    """
    wanted = [form(text) for text in texts]
    kept = [form(text) for text in against]
    neighbourhood = Neighbourhood(threshold, word_counts((*kept, *wanted)))
    for given in kept:
        neighbourhood.add(given)
    return [
        Near(i, j, value)
        for i, given in enumerate(wanted)
        for j, value in sorted(neighbourhood.near(given))
    ]


class Neighbourhood:
    """Texts that can be asked who is near; it may grow between questions.

    Args:
        threshold: least Jaccard index of a neighbour, above 0, up to 1.
        counts: how frequent words are; decides the speed, never the answer. Not to be changed
            afterwards.

    Raises:
        ValueError: `threshold` is out of range.
    """

    def __init__(self, threshold: float, counts: Mapping[str, int] | None = None) -> None:
        if not 0 < threshold <= 1:
            raise ValueError(f"`threshold` is {threshold}, not above 0 and up to 1")
        self._threshold = threshold
        self._counts = counts or {}
        self._size = 0
        self._same: dict[str, list[int]] = defaultdict(list)  # by normal form
        self._groups: dict[frozenset[str], list[int]] = {}  # texts of one word set
        # word of a prefix -> size of the set -> sets
        self._prefixes: dict[str, dict[int, list[frozenset[str]]]] = {}

    def add(self, given: TextForm) -> int:
        """Add a text and return its number, counted from 0."""
        number, self._size = self._size, self._size + 1
        self._same[given.normal].append(number)
        if given.words in self._groups:
            self._groups[given.words].append(number)
            return number
        self._groups[given.words] = [number]
        for word in self._prefix(given.words):
            by_size = self._prefixes.setdefault(word, {})
            by_size.setdefault(len(given.words), []).append(given.words)
        return number

    def near(self, given: TextForm) -> list[tuple[int, float]]:
        """Return (number, similarity) of every text near `given`, in no particular order."""
        found = dict.fromkeys(self._same.get(given.normal, ()), 1.0)
        for words in self._candidates(given.words):
            value = jaccard(given.words, words)
            if value >= self._threshold:
                for number in self._groups[words]:
                    found.setdefault(number, value)
        return list(found.items())

    def _candidates(self, words: frozenset[str]) -> set[frozenset[str]]:
        """Sets that may be near: of a fitting size, meeting in the prefix; each once."""
        least = math.ceil(self._threshold * len(words) - _ROUNDING)
        most = math.floor(len(words) / self._threshold + _ROUNDING)
        seen: set[frozenset[str]] = set()
        for word in self._prefix(words):
            for size, sets in self._prefixes.get(word, {}).items():
                if least <= size <= most:
                    seen.update(sets)
        return seen

    def _prefix(self, words: frozenset[str]) -> list[str]:
        ordered = sorted(words, key=lambda word: (self._counts.get(word, 0), word))
        shared = math.ceil(self._threshold * len(words) - _ROUNDING)
        return ordered[: len(words) - shared + 1]
