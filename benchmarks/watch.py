"""Does the watch see harm, and does it leave what does no harm alone?

    python benchmarks/watch.py [--quick] [--seeds N] [--data DIR]

A promotion serves a canary share of .10 of keys beside the earlier champion, and the shipped rule
is looked at after every answer, with mode "rollback". Traffic is drawn: keys of one answer each, or
of 1 to 1,000; one key in twenty corrects every wrong answer it gets, the others few; one answer in
a hundred is drawn for the audit sample and labelled; how hard traffic is doubles and falls back,
for both arms alike. A harmless promotion is corrected as often as the earlier champion; a harmful
one gives twice as many wrong answers. Each kind of promotion is drawn once for each seed and kind
of keys. The last line is one JSON object. Nothing is read from --data.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flywheel.config.serving_tables import WatchTable
from flywheel.promotion import ArmCounts, Bet, HarmWealth, watch
from flywheel.promotion.watching import AUDIT_WEIGHT

CANARY, AUDIT = 0.10, 0.01
WRONG = 0.15  # of answers, before difficulty
ROLLBACK = WatchTable(mode="rollback")


@dataclass(frozen=True)
class Keys:
    """Who asks."""

    name: str
    many: int  # keys of one watch
    most: int  # answers of a key; their logarithm is uniform from 1
    stated: int  # answers within which a doubled corrected-rate is caught


KINDS = (
    Keys("one answer a key", 15_000, 1, 12_000),
    Keys("1 to 1,000 answers a key", 6_000, 1_000, 700_000),
)


@dataclass(frozen=True)
class Promotion:
    """The answers of one watch, in their order."""

    key: NDArray[np.int64]
    nth: NDArray[np.int64]  # among the key's answers, from 1
    new: NDArray[np.bool_]  # by the new champion
    corrected: NDArray[np.bool_]
    audited: NDArray[np.bool_]  # drawn by lot, and labelled as wrong


def promotion(random: np.random.Generator, keys: Keys, ratio: float) -> Promotion:
    """Draw a watch in which the new champion is wrong `ratio` times as often."""
    sizes = np.exp(random.uniform(0, math.log(keys.most), keys.many)).astype(np.int64)
    corrects = np.where(random.random(keys.many) < 0.05, 1.0, random.beta(0.6, 1.8, keys.many))
    arm = random.random(keys.many) < CANARY
    key = np.repeat(np.arange(keys.many), sizes)
    when = random.random(keys.many)[key] + random.exponential(0.15, len(key))
    key = key[np.argsort(when)]
    hard = 1 + 0.5 * np.sin(np.linspace(0, random.uniform(2, 20), len(key)))
    hard *= np.linspace(*random.uniform(0.7, 1.4, 2), len(key))
    chance = np.minimum(1.0, WRONG * hard * np.where(arm[key], ratio, 1.0))
    wrong = random.random(len(key)) < chance
    return Promotion(
        key=key,
        nth=_nth(key),
        new=arm[key],
        corrected=wrong & (random.random(len(key)) < corrects[key]),
        audited=wrong & (random.random(len(key)) < AUDIT),
    )


def _nth(key: NDArray[np.int64]) -> NDArray[np.int64]:
    order = np.argsort(key, kind="stable")
    counts = np.bincount(key)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    nth = np.empty(len(key), np.int64)
    nth[order] = np.arange(len(key)) - starts + 1
    return nth


def bets(drawn: Promotion, marked: NDArray[np.bool_]) -> dict[int, Bet]:
    """The first marked answer of each key, by its place."""
    places = np.flatnonzero(marked)
    _, first = np.unique(drawn.key[places], return_index=True)
    return {
        int(place): Bet(bool(drawn.new[place]), int(drawn.nth[place]), CANARY)
        for place in sorted(places[first])
    }


def rolled_back(drawn: Promotion) -> int | None:
    """Answers until the shipped rule rolls back, looked at after each; None: it does not.

    Between two bets nothing changes, so it is asked after each bet.
    """
    corrections, audit = bets(drawn, drawn.corrected), bets(drawn, drawn.audited)
    by_people, by_lot = HarmWealth(), HarmWealth()
    for place in sorted({*corrections, *audit}):
        if place in corrections:
            by_people.add(corrections[place])
        if place in audit:
            by_lot.add(audit[place])
        wealth = (1 - AUDIT_WEIGHT) * by_people.value + AUDIT_WEIGHT * by_lot.value
        if wealth >= 1 / ROLLBACK.alpha:
            _refuse_another(drawn, corrections, audit, place, wealth)
            return place + 1
    return None


def _refuse_another(
    drawn: Promotion, corrections: dict[int, Bet], audit: dict[int, Bet], place: int, wealth: float
) -> None:
    """Ask `watch` itself, with all that was known then."""
    seen = [bet for at, bet in corrections.items() if at <= place]
    labelled = [bet for at, bet in audit.items() if at <= place]
    arms = [
        ArmCounts(
            adapter=name,
            answers=int((drawn.new[: place + 1] == new).sum()),
            keys=len(np.unique(drawn.key[: place + 1][drawn.new[: place + 1] == new])),
            corrected=sum(bet.new == new for bet in seen),
        )
        for name, new in (("a-2", True), ("a-1", False))
    ]
    verdict = watch(arms, seen, labelled, ROLLBACK)
    if not verdict.rollback or not math.isclose(verdict.e_value, wealth, rel_tol=1e-6):
        raise AssertionError(f"the rule says {verdict}, and {wealth} was followed")


def main() -> int:
    """Run it; 0 when it ran, whatever the figures are."""
    asked = _arguments()
    began = time.monotonic()
    figures: dict[str, dict[str, float | int | None]] = {}
    for keys in KINDS:
        harmless = [rolled_back(one) for one in _drawn(asked.seeds, keys, 1.0)]
        harmful = [rolled_back(one) for one in _drawn(asked.harmful, keys, 2.0)]
        caught = [at for at in harmful if at is not None and at <= keys.stated]
        figures[keys.name] = {
            "harmless": len(harmless),
            "false_rollbacks": sum(at is not None for at in harmless) / len(harmless),
            "harmful": len(harmful),
            "within_answers": keys.stated,
            "caught": len(caught) / len(harmful),
            "median_answers": _median(harmful),
        }
        print(f"{keys.name}: {json.dumps(figures[keys.name])}")
    harmless_all = sum(int(figures[keys.name]["harmless"] or 0) for keys in KINDS)
    false = sum(
        float(figures[keys.name]["false_rollbacks"] or 0) * int(figures[keys.name]["harmless"] or 0)
        for keys in KINDS
    )
    print(
        json.dumps(
            {
                "false_rollbacks": false / harmless_all,
                "harmless": harmless_all,
                "caught": min(figures[keys.name]["caught"] or 0 for keys in KINDS),
                "median_answers": {
                    keys.name: figures[keys.name]["median_answers"] for keys in KINDS
                },
                "within_answers": {keys.name: keys.stated for keys in KINDS},
                "canary": CANARY,
                "seconds": round(time.monotonic() - began, 1),
            }
        )
    )
    return 0


def _median(answers: list[int | None]) -> float | None:
    """None where most were never caught."""
    middle = statistics.median(at or math.inf for at in answers)
    return middle if math.isfinite(middle) else None


def _drawn(seeds: int, keys: Keys, ratio: float) -> Iterator[Promotion]:
    for seed in range(seeds):
        yield promotion(np.random.default_rng([seed, keys.most, int(ratio * 10)]), keys, ratio)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few promotions")
    parser.add_argument("--seeds", type=int, help="harmless promotions of each kind of keys")
    parser.add_argument("--data", type=Path, help="not read: traffic is drawn")
    asked = parser.parse_args()
    asked.seeds = asked.seeds or (40 if asked.quick else 1000)
    asked.harmful = max(1, asked.seeds // 4)
    return asked


if __name__ == "__main__":
    sys.exit(main())
