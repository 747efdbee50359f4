"""Parity: does the server answer what the evaluated adapter answered?

A promotion is judged by the answers that a worker gave. What serves may be another engine, other
files, another tokenizer. So the same texts are asked of the server, and every answer must be equal.
Pure functions; no I/O, no clock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from flywheel.content import canonical
from flywheel.records import EvaluatedAnswer, ServedAnswer

CONFIDENCE_TOLERANCE = 0.001
"""Largest difference of confidence, as a fraction, that counts as the same answer.

Wider than that of an adapter's own test vector, which holds our engines alone: here a server of
somebody's own, in plain `peft`, is right too."""

_UNSURE = 4
"""One text in so many is one of the least confident: there a moved threshold shows first."""

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

    Of these a quarter are those with the least confident answers; the rest is dealt over the
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
    rest = {name: intent for name, intent in candidates.items() if name in evaluated}
    for name in first:
        rest.pop(name, None)
    unsure = sorted(rest, key=lambda name: (_confidence(evaluated[name]), _lot(seed, name)))
    unsure = unsure[: min(count, len(rest)) // _UNSURE]
    for name in unsure:
        rest.pop(name)
    return [*first, *unsure, *_dealt(rest, count - len(unsure), seed)]


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
