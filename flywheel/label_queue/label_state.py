"""State of the labelling queue: answers, agreed labels, labels still needed, audited accuracy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flywheel import diagnosis, labelling, lineage
from flywheel.labelling import Standing, Word
from flywheel.metrics import IntentPair, Tallies, wilson
from flywheel.promotion import person_of
from flywheel.records import IntentHealth
from flywheel.store import Connection, decisions, labels, turns
from flywheel.store.labels import Said
from flywheel.store.turns import Turn
from flywheel.turn.curate import window_start
from flywheel.turn.runtime import Runtime
from flywheel.turn.samples import unjudged


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelState:
    """All answers of the queue, and the standing of each item."""

    said: Mapping[str, Said]  # the newest answer of each item
    by_item: Mapping[str, Sequence[Said]]  # oldest first
    words: tuple[Word, ...]
    standings: Mapping[str, Standing]

    def open_to(self, item: str, person: str, share: float) -> bool:
        """Whether an item is in a person's queue; a share `share` of all items is asked twice."""
        twice = labelling.drawn("second", item, share)
        return labelling.is_open(self.standings.get(item), one_person(person), twice=twice)


def one_person(actor: str) -> str:
    """The same for one person by socket, by token and by `sudo`, who labels an item once.

    >>> one_person("ada (uid 0)") == one_person("ada (token lab)")
    True
    """
    return person_of(actor) or actor


def label_state(con: Connection) -> LabelState:
    """Read all answers that were not withdrawn."""
    answers = labels.standing(con)
    words = tuple(
        Word(
            number=answer.number,
            item=answer.item,
            person=one_person(answer.person),
            label=answer.intent if answer.what == "label" else None,
            resolves=answer.resolves,
        )
        for answer in answers
    )
    by_item: dict[str, list[Said]] = {}
    for answer in answers:
        by_item.setdefault(answer.item, []).append(answer)
    return LabelState(
        said={answer.item: answer for answer in answers},
        by_item=by_item,
        words=words,
        standings=labelling.standings(words),
    )


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


def audited_intents(runtime: Runtime, con: Connection) -> dict[str, dict[str, Any]]:
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
