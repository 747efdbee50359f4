"""What the labelling queue comes to: labels that gates still need, and audited accuracy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from flywheel import lineage
from flywheel.metrics import wilson
from flywheel.store import Connection, decisions, labels, turns
from flywheel.store.turns import Turn
from flywheel.turn.curate import window_start
from flywheel.turn.label_words import LabelState, label_state
from flywheel.turn.runtime import Runtime
from flywheel.turn.samples import unjudged


def held_turns(con: Connection) -> list[Turn]:
    """Return the held turns whose challenger waits for labels."""
    waiting = [d.turn for d in decisions.list_decisions(con, status="pending") if d.turn]
    waiting_turns = [turns.get(con, name) for name in waiting]
    return [turn for turn in waiting_turns if turn.state == "held" and turn.record.labels_wanted]


def asked_for_gates(con: Connection) -> dict[str, int]:
    """Return the labels by intent that gates asked for, however many were given since.

    Those of turns that are judged again with the first of them are among them.
    """
    requested: Counter[str] = Counter()
    for decision in decisions.list_decisions(con, status="pending"):
        if decision.turn:
            requested |= Counter(turns.get(con, decision.turn).record.labels_wanted)
    return dict(requested)


def still_wanted(con: Connection, state: LabelState) -> dict[str, int]:
    """Return the labels by intent that held turns wait for, minus those given and not yet used."""
    effects = labels.effects(con)
    unused: Counter[str] = Counter()
    for item, standing in state.standings.items():
        waits = item not in effects or effects[item].intent != standing.label
        if state.said[item].kind == "gate" and standing.label and waits:
            unused[standing.label] += 1
    wanted: Counter[str] = Counter()
    for turn in held_turns(con):
        requested = Counter(turn.record.labels_wanted)
        wanted |= requested - unused - unjudged(con, turn)
    return dict(wanted)


# Accuracy of production, from a uniform sample of its traffic that people labelled blind.
#
# Feedback is biased: users give it more often when an answer was wrong. The random sample is not.
# Skipped and disputed items are excluded from the accuracy and counted beside it.


def audited_accuracy(runtime: Runtime, con: Connection) -> dict[str, Any]:
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
