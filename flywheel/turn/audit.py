"""How often production is right, by a uniform sample of its traffic that a person labelled blind.

Feedback is given more often when an answer was wrong; whom a lot falls on does not depend on that.
What was skipped or is disputed is not in the figure, and is told beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from flywheel import diagnosis, lineage
from flywheel.metrics import IntentPair, Tallies, wilson
from flywheel.records import IntentHealth
from flywheel.store import Connection
from flywheel.turn.label_state import Book, book
from flywheel.turn.queue import window_start
from flywheel.turn.runtime import Wheel


def accuracy(wheel: Wheel, con: Connection) -> dict[str, Any]:
    """The share of right answers in the window, with Wilson's interval.

    Returns:
        {"n", "errors", "accuracy", "low", "high", "skipped", "disputed"}; accuracy is None, and
        the interval 0 to 1, before the first label.
    """
    kept = book(con)
    audited = _audited(wheel, con, kept)
    pairs = [pair for pair in audited.values() if pair is not None]
    n = len(pairs)
    errors = sum(predicted != label for predicted, label in pairs)
    low, high = wilson(n - errors, n, wheel.config.intents.confidence)
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


def by_intent(wheel: Wheel, con: Connection) -> dict[str, dict[str, Any]]:
    """The same for each intent: of the audited predictions that concern it, as `intents` says.

    Returns:
        By intent: {"n", "errors", "low", "high"}, the interval being that of the error rate.
    """
    pairs = [pair for pair in _audited(wheel, con, book(con)).values() if pair is not None]
    return {
        each.intent: {
            "n": each.feedback,
            "errors": each.errors,
            "low": each.low,
            "high": each.high,
        }
        for each in _health(wheel, pairs)
        if each.feedback
    }


def _audited(wheel: Wheel, con: Connection, kept: Book) -> Mapping[str, tuple[str, str] | None]:
    """By item: what was predicted and what is right, under the names of today; None: not known."""
    since = window_start(wheel, con)
    names = lineage.current_names(wheel.intents)
    found: dict[str, tuple[str, str] | None] = {}
    for item, said in kept.said.items():
        if said.kind != "audit" or said.predicted_at is None or said.predicted_at < since:
            continue
        label, predicted = kept.standings[item].label, said.predicted or ""
        right = names.get(label, label) if label else None
        found[item] = (names.get(predicted, predicted), right) if right else None
    return found


def _health(wheel: Wheel, pairs: Sequence[tuple[str, str]]) -> tuple[IntentHealth, ...]:
    counts = Counter(pairs)
    tallies = Tallies(
        pairs=tuple(
            IntentPair(predicted=predicted, truth=label, correct=predicted == label, count=count)
            for (predicted, label), count in sorted(counts.items())
        )
    )
    return diagnosis.health(tallies, wheel.intents, wheel.config.intents)
