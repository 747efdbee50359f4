"""Does the watch see harm, and does it leave what does no harm alone?

    python benchmarks/watch.py [--quick] [--seeds N] [--data DIR]

A promotion serves a canary share of .10 of keys beside the earlier champion, and the shipped rule
is looked at after every answer, with mode "rollback". Traffic is drawn: keys of one answer each, or
of 1 to 1,000; one key in twenty corrects every wrong answer it gets, the others few; one answer in
a hundred is drawn for the audit sample and labelled; how hard traffic is doubles and falls back,
for both arms alike. A harmless promotion is corrected as often as the earlier champion; a harmful
one gives twice as many wrong answers. A harmless one is drawn for each seed, of the keys with many
answers for each fifth, and a harmful one for each fourth of these. The alarms on traffic are drawn
for years that do not change, one for each fourth seed, and for weeks in which `none` swallows a new
topic. The last line is one JSON object: `median_answers` is of keys of one answer, `caught` of the
worse kind of keys, false alarms are of one alarm. Nothing is read from --data.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flywheel.config.serving_tables import WatchTable
from flywheel.diagnosis.alarms import ALARMS, PER_YEAR, alarms
from flywheel.promotion import ArmCounts, Bet, HarmWealth, watch
from flywheel.promotion.watching import AUDIT_WEIGHT

CANARY, AUDIT = 0.10, 0.01
WRONG = 0.15  # of answers, before difficulty
INTENTS, WEEKS, LOOKS_A_YEAR = 30, 52, 365.25 / 7
ROLLBACK = WatchTable(mode="rollback")


@dataclass(frozen=True)
class Keys:
    """Who asks."""

    name: str
    many: int  # keys of one watch
    most: int  # answers of a key; their logarithm is uniform from 1
    stated: int  # answers within which a doubled corrected-rate is caught
    part: int  # of the seeds, one in so many is drawn


KINDS = (
    Keys("one answer a key", 15_000, 1, 12_000, 1),
    Keys("1 to 1,000 answers a key", 6_000, 1_000, 700_000, 5),
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


def false_alarms(random: np.random.Generator, years: int) -> dict[str, float]:
    """Alarms a year and kind, of the shipped rule, where nothing changes but who asks."""
    raised = dict.fromkeys(ALARMS, 0)
    for _ in range(years):
        shares = random.dirichlet(np.full(INTENTS, 0.3))
        before = [week_of_answers(random, shares) for _ in range(4)]
        for week in range(WEEKS):
            now = week_of_answers(random, shares)
            for alarm in alarms(int(random.integers(1 << 30)) + week, now, before):
                raised[alarm.name] += alarm.raised
            before = [*before[1:], now]
    return {name: count / (years * WEEKS / LOOKS_A_YEAR) for name, count in raised.items()}


def new_topic(random: np.random.Generator, weeks: int) -> float:
    """Share of weeks with an alarm, where `none` swallows a topic of 5 % of traffic."""
    seen = 0
    for number in range(weeks):
        shares = random.dirichlet(np.full(INTENTS, 0.3))
        before = [week_of_answers(random, shares) for _ in range(4)]
        now = week_of_answers(random, shares, swallowed=0.05)
        seen += any(one.raised for one in alarms(number, now, before))
    return seen / weeks


def week_of_answers(
    random: np.random.Generator, shares: NDArray[np.float64], swallowed: float = 0.0
) -> dict[str, Counter[str]]:
    """Counts of a week of 300 to 2,000 keys; intent 0 is `none`."""
    keys = int(random.integers(300, 2000))
    told = (1 - swallowed) * shares
    told[0] += swallowed
    called = random.multinomial(keys, told)
    by_ten = random.multinomial(keys, np.arange(1, 11) / 55)
    strange = random.multinomial(keys, [0.6, 0.25, 0.1, 0.05])
    return {
        "intents": Counter({str(name): int(count) for name, count in enumerate(called)}),
        "abstention": Counter(none=int(called[0]), call=int(called[1:].sum())),
        "confidence": Counter({str(name): int(count) for name, count in enumerate(by_ten)}),
        "input": Counter({str(name): int(count) for name, count in enumerate(strange)}),
    }


def main() -> int:
    """Run it; 0 when it ran, whatever the figures are."""
    asked = _arguments()
    began = time.monotonic()
    figures: dict[str, dict[str, float | int | None]] = {}
    for keys in KINDS:
        seeds = math.ceil(asked.seeds / keys.part)
        harmless = [rolled_back(one) for one in _drawn(seeds, keys, 1.0)]
        harmful = [rolled_back(one) for one in _drawn(math.ceil(seeds / 4), keys, 2.0)]
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
    random, years = np.random.default_rng(77), max(10, asked.seeds // 4)
    yearly, topic = false_alarms(random, years), new_topic(random, years)
    print(f"alarms over {years} years: {json.dumps(yearly)}; a new topic raises one: {topic}")
    print(
        json.dumps(
            {
                "false_rollbacks": false / harmless_all,
                "harmless": harmless_all,
                "caught": min(figures[keys.name]["caught"] or 0 for keys in KINDS),
                "median_answers": figures[KINDS[0].name]["median_answers"],
                "within_answers": KINDS[0].stated,
                "keys": figures,
                "canary": CANARY,
                "false_alarms_per_year": sum(yearly.values()) / len(yearly),
                "stated_false_alarms_per_year": PER_YEAR,
                "by_alarm": yearly,
                "years": years,
                "within_3_standard_errors": all(
                    abs(rate - PER_YEAR) <= 3 * math.sqrt(PER_YEAR / years)
                    for rate in yearly.values()
                ),
                "new_topic_raises": topic,
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
    return asked


if __name__ == "__main__":
    sys.exit(main())
