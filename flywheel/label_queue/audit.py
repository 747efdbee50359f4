"""Accuracy of production, from a uniform sample of its traffic that people labelled blind.

Feedback is biased: users give it more often when an answer was wrong. The random sample is not.
Skipped and disputed items are excluded from the accuracy and counted beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from flywheel import diagnosis, lineage
from flywheel.label_queue.label_state import LabelState, label_state
from flywheel.metrics import IntentPair, Tallies, wilson
from flywheel.records import IntentHealth
from flywheel.store import Connection
from flywheel.turn.curate import window_start
from flywheel.turn.runtime import Runtime


def accuracy(runtime: Runtime, con: Connection) -> dict[str, Any]:
    """Return the accuracy in the window with Wilson's interval.

    Returns:
        {"n", "errors", "accuracy", "low", "high", "skipped", "disputed"}; fractions 0..1. Before
        the first label, accuracy is None and the interval 0 to 1.
    """
    state = label_state(con)
    audited = _audited(runtime, con, state)
    pairs = [pair for pair in audited.values() if pair is not None]
    n = len(pairs)
    errors = sum(predicted != label for predicted, label in pairs)
    low, high = wilson(n - errors, n, runtime.config.intents.confidence)
    standings = [state.standings[item] for item, pair in audited.items() if pair is None]
    return {
        "n": n,
        "errors": errors,
        "accuracy": (n - errors) / n if n else None,
        "low": low,
        "high": high,
        "skipped": sum(not standing.disputed for standing in standings),
        "disputed": sum(standing.disputed for standing in standings),
    }


def by_intent(runtime: Runtime, con: Connection) -> dict[str, dict[str, Any]]:
    """Return the error rate of each intent with audited predictions, counted as by `health`.

    Returns:
        By intent: {"n", "errors", "low", "high"}; the interval is that of the error rate.
    """
    pairs = [pair for pair in _audited(runtime, con, label_state(con)).values() if pair is not None]
    return {
        item.intent: {
            "n": item.feedback,
            "errors": item.errors,
            "low": item.low,
            "high": item.high,
        }
        for item in _health(runtime, pairs)
        if item.feedback
    }


def _audited(
    runtime: Runtime, con: Connection, state: LabelState
) -> Mapping[str, tuple[str, str] | None]:
    """By audit item: (predicted, true) as current intent names; None without an agreed label."""
    since = window_start(runtime, con)
    names = lineage.current_names(runtime.intents)
    pairs: dict[str, tuple[str, str] | None] = {}
    for item, answer in state.said.items():
        if answer.kind != "audit" or answer.predicted_at is None or answer.predicted_at < since:
            continue
        label, predicted = state.standings[item].label, answer.predicted or ""
        right = names.get(label, label) if label else None
        pairs[item] = (names.get(predicted, predicted), right) if right else None
    return pairs


def _health(runtime: Runtime, pairs: Sequence[tuple[str, str]]) -> tuple[IntentHealth, ...]:
    counts = Counter(pairs)
    tallies = Tallies(
        pairs=tuple(
            IntentPair(predicted=predicted, truth=label, correct=predicted == label, count=count)
            for (predicted, label), count in sorted(counts.items())
        )
    )
    return diagnosis.health(tallies, runtime.intents, runtime.config.intents)
