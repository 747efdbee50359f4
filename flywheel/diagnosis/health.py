"""Health of intents: error rates with intervals, confusions and trend.

Pure functions of counts. An intent fails by its confidence interval, never by a point estimate:
with too few labels no intent fails.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

from flywheel.config.tables import IntentsTable
from flywheel.lineage import current_names
from flywheel.metrics import Tallies, difference, wilson
from flywheel.records import NONE, Intent, IntentHealth

Trend = Literal["worse", "better", "flat", "unknown"]


def health(
    tallies: Tallies,
    intents: Sequence[Intent],
    table: IntentsTable,
    *,
    dev: Mapping[str, tuple[int, int]] | None = None,
    earlier: Tallies | None = None,
    recent: Tallies | None = None,
) -> tuple[IntentHealth, ...]:
    """Return the health of every intent: failing ones by errors, then the others by name.

    A labelled prediction counts for its predicted and for its true intent, so both sides of a
    confusion see it. An intent fails when the lower bound of its Wilson interval is above
    `table.max_error_rate`, in feedback or on dev. Former names of a renamed or merged intent
    count for the current one.

    Args:
        tallies: production over the whole window.
        intents: as configured; `none` is included when it occurs.
        table: `max_error_rate`, `confidence`.
        dev: the champion's evaluation on dev: (examples, errors) by intent.
        earlier, recent: the two halves of the window that the trend compares.
    """
    names = current_names(intents)
    whole = _IntentCounts(tallies, names)
    before = _IntentCounts(earlier or Tallies(), names)
    after = _IntentCounts(recent or Tallies(), names)
    examined = dict(dev or {})
    judged = [
        _judge(name, whole, _trend(name, before, after, table), examined.get(name, (0, 0)), table)
        for name in _judged_names(intents, whole, examined)
    ]
    return tuple(sorted(judged, key=worst_first))


class _IntentCounts:
    """Predictions, labels, errors and confusions by current intent name."""

    def __init__(self, tallies: Tallies, names: Mapping[str, str]) -> None:
        self.volume: Counter[str] = Counter()
        self.feedback: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.confused: dict[str, Counter[str]] = {}
        for name, count in tallies.volume.items():
            self.volume[names.get(name, name)] += count
        for pair in tallies.pairs:
            predicted = names.get(pair.predicted, pair.predicted)
            truth = None if pair.truth is None else names.get(pair.truth, pair.truth)
            merged = predicted == truth and pair.predicted != pair.truth
            self._add(predicted, truth, pair.correct or merged, pair.count)

    def _add(self, predicted: str, truth: str | None, correct: bool, count: int) -> None:
        for name in {predicted, truth} - {None}:
            assert name is not None
            self.feedback[name] += count
            self.errors[name] += 0 if correct else count
        if not correct and truth is not None and truth != predicted:
            self.confused.setdefault(predicted, Counter())[truth] += count
            self.confused.setdefault(truth, Counter())[predicted] += count


def _judged_names(
    intents: Sequence[Intent], whole: _IntentCounts, dev: Mapping[str, tuple[int, int]]
) -> list[str]:
    names = [intent.name for intent in intents]
    if NONE not in names and (whole.volume[NONE] or whole.feedback[NONE] or NONE in dev):
        names.append(NONE)
    return names


def _judge(
    name: str, whole: _IntentCounts, trend: Trend, dev: tuple[int, int], table: IntentsTable
) -> IntentHealth:
    n, errors = whole.feedback[name], whole.errors[name]
    dev_n, dev_errors = dev
    low, high = wilson(errors, n, table.confidence)
    dev_low, _ = wilson(dev_errors, dev_n, table.confidence)
    confused = whole.confused.get(name, Counter())
    return IntentHealth(
        intent=name,
        predictions=whole.volume[name],
        feedback=n,
        errors=errors,
        error_rate=errors / n if n else None,
        low=low,
        high=high,
        failing=max(low, dev_low) > table.max_error_rate,
        confused_with=tuple(sorted(confused.items(), key=lambda pair: (-pair[1], pair[0]))),
        trend=trend,
        dev_n=dev_n,
        dev_errors=dev_errors,
    )


def _trend(name: str, before: _IntentCounts, after: _IntentCounts, table: IntentsTable) -> Trend:
    """Trend by Newcombe's interval of the change in error rate.

    "flat" only when the interval excludes a change of `max_error_rate` in either direction;
    "unknown" when it is wider than that.
    """
    low, high = difference(
        before.errors[name],
        before.feedback[name],
        after.errors[name],
        after.feedback[name],
        table.confidence,
    )
    if low > 0:
        return "worse"
    if high < 0:
        return "better"
    return "flat" if max(-low, high) < table.max_error_rate else "unknown"


def worst_first(item: IntentHealth) -> tuple[bool, int, str]:
    """Sort key: failing intents by errors, most first, then the others by name."""
    errors = item.errors + item.dev_errors if item.failing else 0
    return not item.failing, -errors, item.intent
