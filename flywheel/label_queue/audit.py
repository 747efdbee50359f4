"""How often production is right, by a uniform sample of its traffic that a person labelled blind.

Feedback is given more often when an answer was wrong; whom a lot falls on does not depend on that.
What was skipped or is disputed is not in the figure, and is told beside it.
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
    """The share of right answers in the window, with Wilson's interval.

    Returns:
        {"n", "errors", "accuracy", "low", "high", "skipped", "disputed"}; accuracy is None, and
        the interval 0 to 1, before the first label.
    """
    kept = label_state(con)
    audited = _audited(runtime, con, kept)
    pairs = [pair for pair in audited.values() if pair is not None]
    n = len(pairs)
    errors = sum(predicted != label for predicted, label in pairs)
    low, high = wilson(n - errors, n, runtime.config.intents.confidence)
    standings = [kept.standings[item] for item, pair in audited.items() if pair is None]
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
    """The same for each intent: of the audited predictions that concern it, as `intents` says.

    Returns:
        By intent: {"n", "errors", "low", "high"}, the interval being that of the error rate.
    """
    pairs = [pair for pair in _audited(runtime, con, label_state(con)).values() if pair is not None]
    return {
        each.intent: {
            "n": each.feedback,
            "errors": each.errors,
            "low": each.low,
            "high": each.high,
        }
        for each in _health(runtime, pairs)
        if each.feedback
    }


def _audited(
    runtime: Runtime, con: Connection, kept: LabelState
) -> Mapping[str, tuple[str, str] | None]:
    """By item: what was predicted and what is right, under the names of today; None: not known."""
    since = window_start(runtime, con)
    names = lineage.current_names(runtime.intents)
    found: dict[str, tuple[str, str] | None] = {}
    for item, said in kept.said.items():
        if said.kind != "audit" or said.predicted_at is None or said.predicted_at < since:
            continue
        label, predicted = kept.standings[item].label, said.predicted or ""
        right = names.get(label, label) if label else None
        found[item] = (names.get(predicted, predicted), right) if right else None
    return found


def _health(runtime: Runtime, pairs: Sequence[tuple[str, str]]) -> tuple[IntentHealth, ...]:
    counts = Counter(pairs)
    tallies = Tallies(
        pairs=tuple(
            IntentPair(predicted=predicted, truth=label, correct=predicted == label, count=count)
            for (predicted, label), count in sorted(counts.items())
        )
    )
    return diagnosis.health(tallies, runtime.intents, runtime.config.intents)
