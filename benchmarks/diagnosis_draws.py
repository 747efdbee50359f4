"""Are failing intents found, and only they? Simulated draws, judged by the rules that are shipped.

15 intents. By lot: 200 labels; which intent is asked next is chosen adaptively
(`diagnosis.shares`, ten labels at a time), the text within it by lot. Volunteered: 300 answers of
each intent, of which people rate some, wrong ones more often, and a dev set with 15 texts of each.
Failing: an error rate of .40 or more; healthy: of .10 or less; between them neither counts.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from flywheel import diagnosis
from flywheel.config.tables import IntentsTable
from flywheel.diagnosis import ChampionLabels, Doubt
from flywheel.metrics import IntentPair, Tallies
from flywheel.records import Intent, IntentHealth

INTENTS, LABELS, BATCH = 15, 200, 10
SERVED, DEV = 300, 15  # of each intent
FAILING, HEALTHY = 0.40, 0.10
TABLE = IntentsTable()
NAMES = tuple(Intent(name=f"intent-{number:02d}") for number in range(INTENTS))
_Rates = Callable[[random.Random], list[float]]


def mixed(rng: random.Random) -> list[float]:
    """A third fails at .40 to .80, half are healthy, and the others are between."""
    rates = []
    for _ in range(INTENTS):
        kind = rng.random()
        low, high = (
            (FAILING, 0.80) if kind < 1 / 3 else (0.0, HEALTHY) if kind < 5 / 6 else (0.10, 0.40)
        )
        rates.append(rng.uniform(low, high))
    return rates


def least_favourable(failing: int) -> _Rates:
    """So many fail by .40, and all others are healthy by .10: nobody could tell them harder."""
    return lambda rng: [FAILING] * failing + [HEALTHY] * (INTENTS - failing)


WORLDS: Mapping[str, _Rates] = {
    "mixed": mixed,
    **{f"{count}_at_40": least_favourable(count) for count in (1, 3, 5, 8)},
}
STREAMS: Mapping[str, tuple[float, float]] = {
    "feedback_fair": (0.2, 0.2),
    "feedback_3_to_1": (0.3, 0.1),
    "feedback_9_to_1": (0.45, 0.05),
    "complaints": (0.3, 0.0),
}
"""Chance that a wrong, and that a right answer is rated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was found over many draws; failing ones, and failing or suspected ones."""

    precision: float
    recall: float
    written_precision: float
    written_recall: float
    labels: float  # the mean


def answers(errors: Sequence[int], n: Sequence[int]) -> tuple[IntentPair, ...]:
    """Labelled answers; nobody says what would have been right."""
    return tuple(
        IntentPair(predicted=intent.name, truth=truth, correct=truth is not None, count=count)
        for intent, wrong, labels in zip(NAMES, errors, n, strict=True)
        for truth, count in ((None, wrong), (intent.name, labels - wrong))
        if count
    )


def by_lot(rates: Sequence[float], rng: random.Random) -> tuple[tuple[IntentHealth, ...], int]:
    """Health in the end, and the labels that were asked."""
    errors, n = [0] * INTENTS, [0] * INTENTS
    found = diagnosis.health(Tallies(), NAMES, TABLE)
    for _ in range(LABELS // BATCH):
        known = {item.intent: item for item in found}
        doubts = [
            Doubt(
                intent=intent.name,
                errors=known[intent.name].audit_errors,
                n=known[intent.name].audit_n,
                suspected=known[intent.name].suspect,
            )
            for intent in NAMES
        ]
        failing = {item.intent for item in found if item.failing}
        asked = diagnosis.shares(doubts, failing, TABLE.max_error_rate, BATCH)
        for number, intent in enumerate(NAMES):
            count = asked.get(intent.name, 0)
            n[number] += count
            errors[number] += sum(rng.random() < rates[number] for _ in range(count))
        labels = ChampionLabels(asked=answers(errors, n))
        found = diagnosis.health(Tallies(), NAMES, TABLE, labels=labels)
    return found, sum(n)


def volunteered(
    stream: tuple[float, float], rates: Sequence[float], rng: random.Random
) -> tuple[tuple[IntentHealth, ...], int]:
    """Health by what people rate of their own accord, and by dev."""
    errors, n = [0] * INTENTS, [0] * INTENTS
    for number, rate in enumerate(rates):
        for _ in range(SERVED):
            wrong = rng.random() < rate
            rated = rng.random() < stream[not wrong]
            n[number] += rated
            errors[number] += rated and wrong
    dev = {
        intent.name: (DEV, sum(rng.random() < rate for _ in range(DEV)))
        for intent, rate in zip(NAMES, rates, strict=True)
    }
    tallies = Tallies(
        volume={intent.name: SERVED for intent in NAMES},
        pairs=answers(errors, n),
    )
    return diagnosis.health(tallies, NAMES, TABLE, labels=ChampionLabels(dev=dev)), sum(n)


def found(
    world: _Rates,
    seeds: int,
    judged: Callable[
        [Sequence[float], random.Random], tuple[tuple[IntentHealth, ...], int]
    ] = by_lot,
) -> Found:
    """Precision and recall over `seeds` draws of a world."""
    shown, written = [0, 0, 0], [0, 0, 0]  # right, wrong, missed
    labels = 0
    for seed in range(seeds):
        rng = random.Random(seed)
        rates = world(rng)
        health, asked = judged(rates, rng)
        labels += asked
        rate_of = {intent.name: rate for intent, rate in zip(NAMES, rates, strict=True)}
        for item in health:
            for counts, named in ((shown, item.failing), (written, item.failing or item.suspect)):
                bad, good = rate_of[item.intent] >= FAILING, rate_of[item.intent] <= HEALTHY
                counts[0] += named and bad
                counts[1] += named and good
                counts[2] += bad and not named
    return Found(
        precision=round(shown[0] / max(1, shown[0] + shown[1]), 4),
        recall=round(shown[0] / max(1, shown[0] + shown[2]), 4),
        written_precision=round(written[0] / max(1, written[0] + written[1]), 4),
        written_recall=round(written[0] / max(1, written[0] + written[2]), 4),
        labels=round(labels / seeds, 1),
    )
