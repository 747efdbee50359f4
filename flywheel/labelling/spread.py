"""Which texts are asked about first where nothing is known yet: those that cover the most. Pure.

A text is a bag of its words and of its runs of three and four letters, hashed into `_WIDTH` places
and weighed by how rare each is among the texts; two texts are as alike as the cosine of these, and
more so where production answered them alike. Farthest-first: the next text is the one least like
all that were chosen or labelled before, so that each is of another wording. Farthest-first alone
chooses what is like nothing, such as garbled texts. So the distance is weighed by how many are
like the text: a text that stands for a crowd comes before one that stands for itself.

No model is asked, and the answer for the same texts is the same. Measured on 4,000 draws from
CLINC150, intents by Zipf's law: `docs/adr/0089`.

Source: Gonzalez 1985 (farthest-first); Sener and Savarese 2018, arXiv 1708.00489 (core sets).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flywheel.content import fold
from flywheel.scripts import word_set

_WIDTH = 512  # places of a vector
_RUNS = (3, 4)  # letters
_ANSWERED = 0.6  # weight of an equal answer of production, against the wording's 1
_CROWD = 10  # texts that are most like one: how alike they are says how many it stands for
_PULL = 0.25  # power of the crowd; 0: farthest-first alone
_LONGEST = 1_000  # characters that are looked at

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpreadText:
    """A text, and what production answered to it or a person called it."""

    text: str
    intent: str = ""  # "": not known


def spread(
    texts: Sequence[SpreadText], known: Sequence[SpreadText] = (), most: int | None = None
) -> list[int]:
    """Return positions of the texts in the order in which they should be asked about.

    Two thousand texts beside five hundred known ones take about half a second.

    Args:
        texts: different ones.
        known: labelled or asked about already; what is like them comes late.
        most: how many positions; None: all.
    """
    if not texts:
        return []
    vectors = _weighed(_counts([*texts, *known]), len(texts))
    asked, labelled = vectors[: len(texts)], vectors[len(texts) :]
    answers = _numbers([*texts, *known])
    likeness = _likeness(asked, asked, answers[: len(texts)], answers[: len(texts)])
    crowd = _crowd(likeness) ** _PULL
    distance = np.full(len(texts), np.inf, np.float32)
    if known:
        nearest = _likeness(asked, labelled, answers[: len(texts)], answers[len(texts) :]).max(1)
        distance = 1 - nearest
    order: list[int] = []
    for _ in range(min(len(texts), len(texts) if most is None else most)):
        worth = crowd if np.isinf(distance).all() else distance * crowd
        worth[order] = -1
        order.append(int(worth.argmax()))
        distance = np.minimum(distance, 1 - likeness[order[-1]])
    return order


def _counts(texts: Sequence[SpreadText]) -> Vectors:
    """float32 (texts, places): how often each feature occurs, on a logarithmic scale."""
    counts = np.zeros((len(texts), _WIDTH), np.float32)
    for row, one in enumerate(texts):
        places = [
            zlib.crc32(feature.encode("utf-8", "surrogatepass")) % _WIDTH
            for feature in _features(one.text)
        ]
        counts[row] = np.bincount(places, minlength=_WIDTH)
    return np.log1p(counts)


def _features(text: str) -> list[str]:
    shown = fold(text[:_LONGEST])
    line = f" {' '.join(shown.split())} "
    runs = [line[at : at + n] for n in _RUNS for at in range(len(line) - n + 1)]
    return [f"word {word}" for word in sorted(word_set(shown))] + runs


def _weighed(counts: Vectors, texts: int) -> Vectors:
    """Rows of length 1; what is in many of the first `texts` rows weighs little."""
    frequency = (counts[:texts] > 0).sum(0)
    weighed = counts * np.log((1 + texts) / (1 + frequency)).astype(np.float32)
    lengths = np.linalg.norm(weighed, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    scaled: Vectors = (weighed / lengths).astype(np.float32)
    return scaled


def _numbers(texts: Sequence[SpreadText]) -> NDArray[np.int64]:
    """A number for each intent; one of its own for each that is not known."""
    numbers = {name: at for at, name in enumerate(sorted({one.intent for one in texts} - {""}))}
    return np.array([numbers.get(one.intent, -1 - row) for row, one in enumerate(texts)])


def _likeness(
    rows: Vectors, columns: Vectors, row_answers: NDArray[np.int64], answers: NDArray[np.int64]
) -> Vectors:
    """float32 (rows, columns), 0..1."""
    share = _ANSWERED**2
    alike = (row_answers[:, None] == answers[None, :]).astype(np.float32)
    likeness: Vectors = (rows @ columns.T + share * alike) / np.float32(1 + share)
    return likeness.clip(0, 1)


def _crowd(likeness: Vectors) -> Vectors:
    """How alike the texts are that are most like each, itself left out; never 0."""
    most = min(_CROWD, len(likeness) - 1)
    if not most:
        return np.ones(len(likeness), np.float32)
    nearest = np.partition(likeness, -most - 1, axis=1)[:, -most - 1 :]  # one of them is itself
    crowd: Vectors = (nearest.sum(1) - 1) / most
    return crowd.clip(0.01, None)
