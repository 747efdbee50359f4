"""Are failing intents found, and only they? Simulated draws, judged by the rules that are shipped.

15 intents, 200 labels of the audit: which intent is asked next is chosen adaptively
(`labelling.shares`, ten labels at a time), the text within it by lot. Failing: an error rate of .40
or more; healthy: of .10 or less; between them neither counts.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from flywheel import labelling
from flywheel.config.tables import IntentsTable
from flywheel.labelling import Doubt
from flywheel.metrics import e_bh, error_e_value

INTENTS, LABELS, BATCH = 15, 200, 10
FAILING, HEALTHY = 0.40, 0.10
TABLE = IntentsTable()
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was found over many draws."""

    precision: float
    recall: float
    labels: float  # that were asked, the mean


def asked_adaptively(rates: Sequence[float], rng: random.Random) -> tuple[frozenset[str], int]:
    """The intents that are called failing in the end, and the labels that it took."""
    errors, n = [0] * len(rates), [0] * len(rates)
    failing: frozenset[str] = frozenset()
    for _ in range(LABELS // BATCH):
        doubts = [
            Doubt(intent=str(i), errors=errors[i], n=n[i], suspected=False)
            for i in range(len(rates))
        ]
        asked = labelling.shares(doubts, failing, TABLE.max_error_rate, BATCH)
        for name, count in asked.items():
            n[int(name)] += count
            errors[int(name)] += sum(rng.random() < rates[int(name)] for _ in range(count))
        failing = e_bh(
            {
                str(i): error_e_value(errors[i], n[i], TABLE.max_error_rate)
                for i in range(len(rates))
            },
            0.10,
        )
    return failing, sum(n)


def found(world: _Rates, seeds: int) -> Found:
    """Precision and recall over `seeds` draws of a world."""
    right = wrong = missed = labels = 0
    for seed in range(seeds):
        rng = random.Random(seed)
        rates = world(rng)
        failing, asked = asked_adaptively(rates, rng)
        labels += asked
        right += sum(rates[int(name)] >= FAILING for name in failing)
        wrong += sum(rates[int(name)] <= HEALTHY for name in failing)
        missed += sum(rate >= FAILING and str(i) not in failing for i, rate in enumerate(rates))
    return Found(
        precision=round(right / max(1, right + wrong), 4),
        recall=round(right / max(1, right + missed), 4),
        labels=round(labels / seeds, 1),
    )
