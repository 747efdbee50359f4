"""Parity: does the server answer what the evaluated adapter answered?

A promotion is judged by the answers that a worker gave. What serves may be another engine, other
files, another tokenizer. So the same texts are asked of the server, and every answer must be equal.
Pure functions; no I/O, no clock.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from flywheel.content import canonical
from flywheel.records import EvaluatedAnswer, ServedAnswer

CONFIDENCE_TOLERANCE = 0.001
"""Largest difference of confidence, as a fraction, that counts as the same answer.

Wider than that of an adapter's own test vector, which holds our engines alone: here a server of
somebody's own, in plain `peft`, is right too."""

INDISTINCT = 0.001
"""A score this close to the threshold of `none`, in the score's own unit, is on either side of it
by rounding alone: such a text is asked only where it is a must-pass one.

Engines in float32 differ by 1e-4 in a logit."""

_NEAR = 4
"""One text in so many lies nearest the threshold: what moves it shows there first."""

_UNSURE = 8
"""One text in so many is one of the least confident: there changed weights show first."""

Differing = Literal["adapter", "intent", "arguments", "confidence", "missing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityDifference:
    """A text that the server answers otherwise than the evaluated adapter did."""

    sample: str
    what: Differing  # the first of these that differs; missing: the server gave no answer
    evaluated: EvaluatedAnswer
    served: ServedAnswer | None  # None where it is missing


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityResult:
    """What came of one round of questions."""

    adapter: str
    asked: int
    differences: tuple[ParityDifference, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether something was asked, and every answer was the evaluated one."""
        return self.asked > 0 and not self.differences


def chosen(
    candidates: Mapping[str, str],
    evaluated: Mapping[str, EvaluatedAnswer],
    must_pass: Sequence[str],
    count: int,
    seed: str,
) -> list[str]:
    """Return the samples to ask: every must-pass one, and `count` of the others.

    Of these a quarter, and at least two, are those whose scores lie nearest the threshold, on both
    sides of it: whichever threshold would change the answer to one candidate changes that to one
    of these. An eighth are those with the least confident answers. The rest is dealt over the
    intents in turn, by a hash of the sample's id and the seed. The same input gives the same list.

    Args:
        candidates: intents by sample id, of the dev split.
        evaluated: the adapter's answers by sample id; what has none is not asked.
        must_pass: sample ids.
        count: of dev samples at most.
        seed: the adapter's id; of later rounds with something more, so that others are asked.

    >>> chosen({"s-1": "a", "s-2": "a"}, {}, [], 2, "a-1")
    []
    """
    first = sorted(name for name in set(must_pass) if name in evaluated)
    asked_always = set(first)
    rest = {
        name: intent
        for name, intent in candidates.items()
        if name in evaluated and name not in asked_always and not _indistinct(evaluated[name])
    }
    count = min(count, len(rest))
    edge = _nearest(rest, evaluated, max(count // _NEAR, min(2, count)), seed)
    inner = [name for name in rest if name not in set(edge)]
    unsure = sorted(inner, key=lambda name: (_confidence(evaluated[name]), _lot(seed, name)))
    edge += unsure[: count // _UNSURE if edge else count // _NEAR]
    for name in edge:
        rest.pop(name)
    return [*first, *edge, *_dealt(rest, count - len(edge), seed)]


def _nearest(
    names: Iterable[str], evaluated: Mapping[str, EvaluatedAnswer], count: int, seed: str
) -> list[str]:
    """So many samples, the nearest above the threshold and the nearest below it in turn."""
    distances = {name: evaluated[name].margin for name in names}
    known = {name: margin for name, margin in distances.items() if margin is not None}
    ranked = sorted(known, key=lambda name: (abs(known[name]), _lot(seed, name)))
    sides = ([n for n in ranked if known[n] < 0], [n for n in ranked if known[n] >= 0])
    pairs = itertools.zip_longest(*sides)
    return [name for pair in pairs for name in pair if name is not None][:count]


def _indistinct(answer: EvaluatedAnswer) -> bool:
    return answer.margin is not None and abs(answer.margin) < INDISTINCT


def _dealt(candidates: Mapping[str, str], count: int, seed: str) -> list[str]:
    """One sample of each intent, then a second of each, and so on, until `count` are dealt."""
    by_intent: dict[str, list[str]] = {}
    for name in sorted(candidates, key=lambda name: _lot(seed, name)):
        by_intent.setdefault(candidates[name], []).append(name)
    place = {name: number for names in by_intent.values() for number, name in enumerate(names)}
    return sorted(place, key=lambda name: (place[name], _lot(seed, name)))[: max(count, 0)]


def _lot(seed: str, sample: str) -> str:
    return hashlib.sha256(f"{seed} {sample}".encode()).hexdigest()


def _confidence(answer: EvaluatedAnswer) -> float:
    return 1.0 if answer.confidence is None else answer.confidence


def compared(
    adapter: str, evaluated: Sequence[EvaluatedAnswer], served: Sequence[ServedAnswer | None]
) -> ParityResult:
    """Compare what was evaluated with what is served, answer by answer.

    Args:
        adapter: that should have answered.
        evaluated: in the order in which it was asked.
        served: in the same order; None where the server gave no answer.

    Raises:
        ValueError: the two differ in length.
    """
    pairs = zip(evaluated, served, strict=True)
    found = ((before, now, differing(adapter, before, now)) for before, now in pairs)
    return ParityResult(
        adapter=adapter,
        asked=len(evaluated),
        differences=tuple(
            ParityDifference(sample=before.sample, what=what, evaluated=before, served=now)
            for before, now, what in found
            if what
        ),
    )


def differing(
    adapter: str, evaluated: EvaluatedAnswer, served: ServedAnswer | None
) -> Differing | Literal[""]:
    """Return what differs first: who answered, the intent, the arguments, the confidence.

    >>> before = EvaluatedAnswer(sample="s-1", intent="play", confidence=0.9)
    >>> now = ServedAnswer(adapter="a-1", intent="play", arguments={}, confidence=0.85)
    >>> differing("a-1", before, now)
    'confidence'
    """
    if served is None:
        return "missing"
    if served.adapter != adapter:
        return "adapter"
    if served.intent != evaluated.intent:
        return "intent"
    if canonical(dict(served.arguments)) != canonical(dict(evaluated.arguments)):
        return "arguments"
    if not _as_confident(evaluated.confidence, served.confidence):
        return "confidence"
    return ""


def _as_confident(evaluated: float | None, served: float | None) -> bool:
    """An evaluated answer without a confidence, as an external model's, asks for none."""
    if evaluated is None:
        return True
    return served is not None and abs(evaluated - served) <= CONFIDENCE_TOLERANCE
