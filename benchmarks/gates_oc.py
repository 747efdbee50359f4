"""Operating characteristics of the shipped gates, by seeded simulation.

How often is an equal challenger promoted within a golden generation, a better one, one that
broke an intent? Paired outcomes are drawn for K intents of n golden examples each (champion
right on .88, both right or both wrong on .92) and given to `gates.judge` and
`promotion.decide` themselves; labels they ask for are drawn and judged again. The rules that
peers code see the same draws. A long tail with pools of rare intents is simulated beside it
(`pools_oc.py`).

    python benchmarks/gates_oc.py [--quick] [--seeds N]

Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pools_oc
from numpy.typing import NDArray

from flywheel.config.tables import FreshRule, GatesTable, OverallRule, PromotionTable
from flywheel.gates import Evidence, HygieneFacts, Ledger, judge, overall
from flywheel.metrics import inferiority_p, superiority_p
from flywheel.promotion import Situation, decide
from flywheel.records import Intent, Outcome, Split

K, N, FRESH = 77, 30, 400
RIGHT, DISCORDANT = 0.88, 0.08
QUERIES = 30
NAMES = tuple(f"i{i:02d}" for i in range(K))
INTENTS = tuple(Intent(name=name) for name in NAMES)
ROWS = K * N
FACTS = HygieneFacts(
    sealed_hash="g",
    current_hash="g",
    trained_hash="a",
    evaluated_hash="a",
    chosen_on="dev",
    champion_rows=ROWS,
    challenger_rows=ROWS,
)
PROFILES = {
    "strict": GatesTable(fresh=FreshRule(required=True)),
    "fast": GatesTable(fresh=FreshRule(required=True), overall=OverallRule(profile="fast")),
}
AUTO = PromotionTable(mode="auto")
Rates = NDArray[np.float64]  # (K, 3): lost, gained, both right
Codes = NDArray[np.int64]  # (K, n) or (n,): 0 lost, 1 gained, 2 both right, 3 both wrong


@dataclass(frozen=True)
class Size:
    """Repetitions of one seed."""

    equal: int  # streams of 30 queries
    better: int  # challengers
    harmed: int
    streams: int  # mixed, of 30 turns
    poisoned: int
    same: int
    tails: int  # challengers of each kind on a long tail


FULL = Size(equal=300, better=400, harmed=1000, streams=40, poisoned=100, same=6000, tails=400)
QUICK = Size(equal=60, better=100, harmed=150, streams=8, poisoned=30, same=300, tails=60)


@functools.cache
def outcome(split: Split, intent: str, number: int, code: int, bought: bool = False) -> Outcome:
    """One evaluation row; the same row is one object, since thousands are judged a second."""
    before, after = code in (0, 2), code in (1, 2)
    return Outcome(
        sample=f"{split}-{intent}-{bought}-{number}",
        split=split,
        intent=intent,
        champion_intent=intent if before else "?",
        challenger_intent=intent if after else "?",
        champion_correct=before,
        challenger_correct=after,
        bought=bought,
    )


def rates(gain: float = 0.0, right: float | Rates = RIGHT) -> Rates:
    """Every intent better by `gain`, at the same agreement."""
    lost, gained = DISCORDANT / 2 - gain / 2, DISCORDANT / 2 + gain / 2
    both = np.broadcast_to(right, (K,)) - lost
    return np.stack([np.full(K, lost), np.full(K, gained), both], axis=1)


def broken(challenger: Rates, intent: int, points: float) -> Rates:
    """The same challenger with one intent that lost `points` of recall."""
    changed = challenger.copy()
    lost, gained = points + DISCORDANT / 2, DISCORDANT / 2
    changed[intent] = lost, gained, max(0.0, changed[intent, 0] + changed[intent, 2] - lost)
    return changed


def draw(random: np.random.Generator, challenger: Rates, n: int) -> Codes:
    """Codes (K, n) of independent examples."""
    return (random.random((K, n, 1)) > challenger.cumsum(axis=1)[:, None, :]).sum(axis=2)


def respond(random: np.random.Generator, challenger: Rates, right: NDArray[np.bool_]) -> Codes:
    """Codes of a challenger on examples (K, n) that the champion has answered already."""
    lost, gained, both = (column[:, None] for column in challenger.T)
    u = random.random(right.shape)
    loses = u < lost / (lost + both)
    wins = u < gained / np.maximum(1 - lost - both, 1e-12)
    return np.where(right, np.where(loses, 0, 2), np.where(wins, 1, 3))


def golden_rows(codes: Codes) -> tuple[Outcome, ...]:
    """Golden rows of codes (K, N)."""
    return tuple(
        outcome("golden", name, number, code)
        for name, row in zip(NAMES, codes.tolist(), strict=True)
        for number, code in enumerate(row)
    )


def fresh_rows(random: np.random.Generator, challenger: Rates) -> tuple[Outcome, ...]:
    """Fresh production rows, intents drawn evenly."""
    mean = challenger.mean(axis=0).cumsum()
    codes = (random.random((FRESH, 1)) > mean).sum(axis=1)
    return tuple(outcome("fresh", "any", i, code) for i, code in enumerate(codes.tolist()))


def turn(random: np.random.Generator, challenger: Rates, codes: Codes, profile: str) -> str:
    """One turn of the shipped code, labels bought until it asks for none.

    Returns:
        The ruling's verdict.
    """
    cumulative = challenger.cumsum(axis=1)
    evidence = Evidence(
        outcomes=golden_rows(codes),
        fresh=fresh_rows(random, challenger),
        hygiene=FACTS,
        ledger=Ledger(generation=1, used=0, capacity=QUERIES),
        intents=INTENTS,
    )
    asked: Counter[str] = Counter()
    while True:
        judgement = judge(evidence, PROFILES[profile])
        if not judgement.labels_wanted:
            return decide(judgement, AUTO, Situation(champion="a-1")).verdict
        bought = []
        for name, count in judgement.labels_wanted.items():
            place = NAMES.index(name)
            new = (random.random((count, 1)) > cumulative[place]).sum(axis=1).tolist()
            bought += [
                outcome("golden", name, asked[name] + i, code, True) for i, code in enumerate(new)
            ]
            asked[name] += count
        assert evidence.ledger is not None
        evidence = replace(
            evidence,
            outcomes=evidence.outcomes + tuple(bought),
            asked=dict(asked),
            ledger=replace(evidence.ledger, earlier_overall=judgement.gate("overall")),
        )


def could_pass(codes: Codes) -> bool:
    """Whether any profile's overall gate passes, by the shipped gate; spares the other gates."""
    rule = PROFILES["fast"].overall
    ledger = Ledger(generation=1, used=0, capacity=QUERIES)
    return overall(golden_rows(codes), rule, ledger).verdict == "PASS"


def threshold_rule(codes: Codes) -> bool:
    """MLflow, TFMA: the metric went up, no slice went down by more than the threshold."""
    change = (codes == 1).sum(axis=1) - (codes == 0).sum(axis=1)
    return bool(change.sum() > 0 and (change >= -0.20 * N).all())


def mcnemar_rule(codes: Codes) -> bool:
    """One-sided McNemar overall, and no intent significantly worse after Holm."""
    lost, gained = (codes == 0).sum(axis=1), (codes == 1).sum(axis=1)
    if superiority_p(int(lost.sum()), int(gained.sum())) > 0.05:
        return False
    harms = (inferiority_p(b, c) for b, c in zip(lost.tolist(), gained.tolist(), strict=True))
    return min(harms) > 0.05 / K


def ladder_rule(codes: Codes) -> bool:
    """The parameter-free Ladder (Blum and Hardt 2015): better by one standard error."""
    x = (codes == 1).astype(float) - (codes == 0)
    return bool(x.mean() > x.std() / math.sqrt(x.size))


Rule = Callable[[Codes], bool]
PEERS: dict[str, Rule] = {
    "threshold (MLflow, TFMA)": threshold_rule,
    "McNemar + Holm": mcnemar_rule,
    "Ladder": ladder_rule,
}
RULES = (*PEERS, "flywheel fast", "flywheel strict")


class Tally:
    """Share of hits by question and rule."""

    def __init__(self) -> None:
        self.hits: dict[tuple[str, str], list[bool]] = defaultdict(list)

    def add(self, question: str, rule: str, hit: bool) -> None:
        """Count one trial."""
        self.hits[question, rule].append(hit)

    def share(self, question: str, rule: str) -> float:
        """Hits among trials."""
        return statistics.fmean(self.hits[question, rule])

    def cell(self, question: str, rule: str) -> str:
        """Share and standard error, for the table."""
        trials = self.hits.get((question, rule))
        if not trials:
            return "-"
        share = statistics.fmean(trials)
        return f"{share:.3f} ±{math.sqrt(share * (1 - share) / len(trials)):.3f}"


def challenge(
    tally: Tally, question: str, random: np.random.Generator, challenger: Rates, codes: Codes
) -> None:
    """Ask every rule about one challenger."""
    for name, rule in PEERS.items():
        tally.add(question, name, rule(codes))
    possible = could_pass(codes)
    labels = random.bit_generator.random_raw()
    for profile in PROFILES:
        again = np.random.default_rng(labels)
        promoted = possible and turn(again, challenger, codes, profile) == "promote"
        tally.add(question, f"flywheel {profile}", promoted)


def equal_streams(tally: Tally, random: np.random.Generator, count: int) -> None:
    """30 equal challengers against one champion on one golden set: is any promoted?"""
    for _ in range(count):
        right = random.random((K, N)) < RIGHT
        one = Tally()
        for _ in range(QUERIES):
            challenge(one, "one", random, rates(), respond(random, rates(), right))
        for rule in RULES:
            tally.add("equal, in 30", rule, any(one.hits["one", rule]))


def single_challengers(tally: Tally, random: np.random.Generator, size: Size) -> None:
    """Better ones, better ones with one intent harmed, poisoned ones, and equal pairs."""
    better = rates(0.02)
    plan: list[tuple[str, int, float]] = [
        ("+2 points", size.better, 0.0),
        ("-20 in one", size.harmed, 0.20),
        ("-40 in one", size.poisoned, 0.40),
        ("poisoned", size.poisoned, 0.70),
    ]
    for question, count, points in plan:
        for _ in range(count):
            challenger = broken(better, int(random.integers(K)), points) if points else better
            challenge(tally, question, random, challenger, draw(random, challenger, N))
    for _ in range(size.same):
        codes = draw(random, rates(), N)
        evidence = Evidence(
            outcomes=golden_rows(codes),
            fresh=fresh_rows(random, rates()),
            hygiene=FACTS,
            ledger=Ledger(generation=1, used=0, capacity=QUERIES),
            intents=INTENTS,
        )
        verdict = judge(evidence, PROFILES["strict"]).verdict
        tally.add("equal fails", "flywheel strict", verdict == "FAIL")


def mixed_stream(random: np.random.Generator) -> Iterator[tuple[Rates, Codes, bool, bool]]:
    """Turns of one stream: challenger, its codes, whether an intent collapsed, whether promoted.

    The champion is what was promoted last (fast profile, the more daring); a generation of
    golden rows lasts the stream.
    """
    accuracy = np.full(K, RIGHT)
    right = random.random((K, N)) < RIGHT
    for _ in range(QUERIES):
        collapsed = bool(random.random() < 0.3)
        gain = float(random.choice([-0.02, 0.0, 0.02, 0.04]))
        if collapsed:
            gain = max(gain, 0.02)  # the temptation
        gain = min(gain, float(1 - accuracy.max()) - DISCORDANT / 2)
        challenger = rates(gain, accuracy)
        if collapsed:
            challenger = broken(challenger, int(random.integers(K)), 0.30)
        codes = respond(random, challenger, right)
        again = np.random.default_rng(random.bit_generator.random_raw())
        promoted = could_pass(codes) and turn(again, challenger, codes, "fast") == "promote"
        yield challenger, codes, collapsed, promoted
        if promoted:
            accuracy = accuracy - challenger[:, 0] + challenger[:, 1]
            right = np.isin(codes, (1, 2))


def mixed_streams(tally: Tally, random: np.random.Generator, count: int) -> None:
    """Streams of better, equal, worse and collapsed challengers."""
    for _ in range(count):
        for _, codes, collapsed, promoted in mixed_stream(random):
            if collapsed:
                tally.add("collapses", "flywheel fast", promoted)
                for name, rule in PEERS.items():
                    tally.add("collapses", name, rule(codes))


def milliseconds() -> float:
    """Median processor time of `judge` on 200 intents with 100 examples each."""
    random = np.random.default_rng(0)
    names = [f"j{i}" for i in range(200)]
    codes = random.choice(4, p=[0.04, 0.04, 0.84, 0.08], size=(200, 100)).tolist()
    evidence = Evidence(
        outcomes=tuple(
            outcome("golden", name, number, code)
            for name, row in zip(names, codes, strict=True)
            for number, code in enumerate(row)
        ),
        hygiene=replace(FACTS, champion_rows=20_000, challenger_rows=20_000),
        ledger=Ledger(generation=1, used=0, capacity=QUERIES),
        intents=tuple(Intent(name=name) for name in names),
    )
    seconds = []
    for _ in range(7):
        start = time.process_time()
        judge(evidence, GatesTable())
        seconds.append(time.process_time() - start)
    return 1000 * statistics.median(seconds)


def main() -> None:
    """Simulate, print the table, end with the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, about a minute")
    parser.add_argument("--seeds", type=int, default=1, help="independent repetitions of it all")
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    tally, tails = Tally(), Tally()
    for seed in range(options.seeds):
        random = np.random.default_rng([7, seed])
        start = time.perf_counter()
        equal_streams(tally, random, size.equal)
        single_challengers(tally, random, size)
        mixed_streams(tally, random, size.streams)
        pools_oc.questions(tails.add, np.random.default_rng([11, seed]), size.tails)
        print(f"seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)
    questions = list(dict.fromkeys(question for question, _ in tally.hits))
    print(f"\npromoted (K = {K}, n = {N}); under 'equal fails': called FAIL")
    print(f"{'rule':26}" + "".join(f"{question:>17}" for question in questions))
    for rule in RULES:
        print(f"{rule:26}" + "".join(f"{tally.cell(q, rule):>17}" for q in questions))
    print(f"\na tail of {len(pools_oc.TAIL)} rare intents in {len(pools_oc.POOLS)} pools: promoted")
    for question, rule in tails.hits:
        print(f"{question:26}{rule:>8}{tails.cell(question, rule):>17}")
    collapses = tally.hits["collapses", "flywheel fast"]
    poisoned = tally.hits["poisoned", "flywheel fast"] + tally.hits["poisoned", "flywheel strict"]
    figures = {
        "equal_promoted_30": tally.share("equal, in 30", "flywheel strict"),
        "equal_promoted_30_fast": tally.share("equal, in 30", "flywheel fast"),
        "minus20_promoted": tally.share("-20 in one", "flywheel fast"),
        "power_2pt": tally.share("+2 points", "flywheel fast"),
        "power_2pt_strict": tally.share("+2 points", "flywheel strict"),
        "collapses_promoted": sum(collapses),
        "collapses": len(collapses),
        "poison_promoted": sum(poisoned),
        "aa_failed": tally.share("equal fails", "flywheel strict"),
        "ms_200x100": round(milliseconds(), 1),
        **{key: tails.share(*asked) for key, asked in pools_oc.KEYS.items()},
        "trials": {
            question: max(len(tally.hits.get((question, rule), ())) for rule in RULES)
            for question in questions
        }
        | {question: len(hits) for (question, rule), hits in tails.hits.items() if rule == "pools"},
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
