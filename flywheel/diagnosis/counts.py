"""Labels, errors and confusions by intent, from pairs of predicted and true intent. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from flywheel.lineage import current_names
from flywheel.metrics import IntentPair
from flywheel.records import NONE, Intent


class IntentCounts:
    """Counts by current intent name. A labelled prediction concerns its predicted and its true
    intent, so both sides of a confusion see it.

    A true name that is no intent says nothing against the intent that was answered: the router has
    no such answer (`input_check` tells of the name).
    """

    def __init__(self, pairs: Iterable[IntentPair], intents: Sequence[Intent]) -> None:
        self.labels: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()  # labels of what was answered as the intent
        self.answered_errors: Counter[str] = Counter()
        self.confused: dict[str, Counter[str]] = {}
        self.total = self.total_errors = 0
        known, names = known_names(intents), current_names(intents)
        for pair in pairs:
            predicted = names.get(pair.predicted, pair.predicted)
            truth = None if pair.truth is None else names.get(pair.truth, pair.truth)
            if truth is not None and truth not in known:
                continue
            merged = predicted == truth and pair.predicted != pair.truth
            self._add(predicted, truth, pair.correct or merged, pair.count)

    def _add(self, predicted: str, truth: str | None, correct: bool, count: int) -> None:
        errors = 0 if correct else count
        self.total += count
        self.total_errors += errors
        self.answered[predicted] += count
        self.answered_errors[predicted] += errors
        for name in {predicted, truth} - {None}:
            assert name is not None
            self.labels[name] += count
            self.errors[name] += errors
        if not correct and truth is not None and truth != predicted:
            self.confused.setdefault(predicted, Counter())[truth] += count
            self.confused.setdefault(truth, Counter())[predicted] += count


def known_names(intents: Sequence[Intent]) -> frozenset[str]:
    """Return the names that a true intent may have today."""
    return frozenset({NONE, *(intent.name for intent in intents)})


def volumes(volume: Mapping[str, int], intents: Sequence[Intent]) -> Counter[str]:
    """Return predictions by current intent name."""
    names = current_names(intents)
    counts: Counter[str] = Counter()
    for name, count in volume.items():
        counts[names.get(name, name)] += count
    return counts


def judged_names(intents: Sequence[Intent], occurs: Collection[str]) -> list[str]:
    """Return the intents whose health is told; `none` among them where it occurs."""
    names = [intent.name for intent in intents]
    return [*names, NONE] if NONE not in names and NONE in occurs else names
