"""What the gate on pools of rare intents does, by seeded simulation; told by `gates_oc.py`.

A long tail: 15 intents with 40 golden rows each, and 30 with 1 to 16, for which traffic offers half
as many texts more. The shipped `gates.make_pools`, `gates.judge` and `promotion.decide` judge them;
labels that they ask for are drawn while traffic has texts.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from flywheel.config.tables import FreshRule, GatesTable, IntentsRule, OverallRule, PromotionTable
from flywheel.gates import Evidence, HygieneFacts, Judgement, Ledger, judge, make_pools
from flywheel.promotion import Situation, decide
from flywheel.records import Intent, Outcome

HEAD = {f"head{i:02d}": 40 for i in range(15)}
TAIL = {f"tail{i:02d}": max(1, round(16 / (1 + i / 3))) for i in range(30)}
ROWS = HEAD | TAIL
OFFERED = {name: rows // 2 for name, rows in TAIL.items()} | dict.fromkeys(HEAD, 60)
KNOWN = tuple(Intent(name=name) for name in ROWS)
TABLE = GatesTable(fresh=FreshRule(required=False), overall=OverallRule(profile="fast"))
ALONE = replace(TABLE, intents=IntentsRule(pools="off"))
POOLS = make_pools(ROWS, OFFERED, KNOWN, TABLE.intents)
SHARE = 0.04  # of rows that an unharmed intent loses, and gains
RIGHT = 0.88
Rates = dict[str, tuple[float, float]]  # (lost, gained) by intent
Add = Callable[[str, str, bool], None]  # question, rule, hit


@dataclass(frozen=True)
class Turn:
    """How one challenger was judged in the end."""

    judgement: Judgement
    promoted: bool
    bought: int

    @property
    def told(self) -> bool:
        """Whether it is decided, or the decision says what a person can do."""
        open_ended = self.judgement.verdict == "INCONCLUSIVE" and self.judgement.labels_wanted
        return not open_ended or bool(self.judgement.beyond)


@functools.cache
def _outcome(name: str, number: int, code: int, bought: bool) -> Outcome:
    before, after = code in (0, 2), code in (1, 2)
    return Outcome(
        sample=f"{name}-{bought}-{number}",
        split="golden",
        intent=name,
        champion_intent=name if before else "?",
        challenger_intent=name if after else "?",
        champion_correct=before,
        challenger_correct=after,
        bought=bought,
    )


def _drawn(
    random: np.random.Generator, name: str, rates: Rates, count: int, start: int, bought: bool
) -> list[Outcome]:
    lost, gained = rates[name]
    both = max(0.0, RIGHT - lost)
    codes = (random.random((count, 1)) > np.cumsum([lost, gained, both])).sum(axis=1)
    return [_outcome(name, start + i, code, bought) for i, code in enumerate(codes.tolist())]


def turn(random: np.random.Generator, rates: Rates, table: GatesTable = TABLE) -> Turn:
    """One turn of the shipped code, labels bought until it asks for none or traffic has none."""
    golden = [row for name, n in ROWS.items() for row in _drawn(random, name, rates, n, 0, False)]
    evidence = Evidence(
        outcomes=tuple(golden),
        hygiene=HygieneFacts(
            sealed_hash="g",
            current_hash="g",
            trained_hash="a",
            evaluated_hash="a",
            chosen_on="dev",
            champion_rows=len(golden),
            challenger_rows=len(golden),
        ),
        ledger=Ledger(generation=1, used=0, capacity=30),
        intents=KNOWN,
        pools=POOLS if table.intents.pools == "auto" else (),
        offered=OFFERED,
    )
    asked: Counter[str] = Counter()
    while True:
        judgement = judge(evidence, table)
        left = evidence.offered or {}
        give = {name: min(n, left.get(name, 0)) for name, n in judgement.labels_wanted.items()}
        if not any(give.values()) or judgement.beyond:
            situation = Situation(champion="a-1", beyond=judgement.beyond)
            ruling = decide(judgement, PromotionTable(mode="auto"), situation)
            return Turn(judgement, ruling.verdict == "promote", asked.total())
        bought = []
        for name, count in give.items():
            bought += _drawn(random, name, rates, count, asked[name], True)
            asked[name] += count
        assert evidence.ledger is not None
        evidence = replace(
            evidence,
            outcomes=(*evidence.outcomes, *bought),
            asked=dict(asked),
            offered={name: count - give.get(name, 0) for name, count in left.items()},
            ledger=replace(evidence.ledger, earlier_overall=judgement.gate("overall")),
        )


def rates(gain: float = 0.0) -> Rates:
    """Every intent better by `gain`, at the same agreement."""
    return dict.fromkeys(ROWS, (SHARE - gain / 2, SHARE + gain / 2))


def with_loss(base: Rates, points: dict[str, float]) -> Rates:
    """The same challenger with intents that lost points of recall instead."""
    return base | {
        name: (min(RIGHT, loss + SHARE), SHARE if loss + SHARE < RIGHT else 0.0)
        for name, loss in points.items()
    }


def questions(add: Add, random: np.random.Generator, count: int) -> None:
    """Ask `count` challengers of each kind."""
    better = rates(0.06)
    for _ in range(count):
        pool = POOLS[int(random.integers(len(POOLS)))]
        members = list(random.permutation(pool.intents))
        half, rows = [], 0
        for name in members:
            if 2 * rows < sum(ROWS[each] for each in members):
                half.append(name)
                rows += ROWS[name]
        spread = dict.fromkeys(members, pool.margin)
        mean = sum(ROWS[name] for name in half) / sum(ROWS[name] for name in members)
        uneven = dict.fromkeys(half, pool.margin / mean)
        one = members[0]
        equal = turn(random, rates())
        add("equal pool fails", "pools", any(p.verdict == "FAIL" for p in equal.judgement.pools))
        good = turn(random, better)
        add("tail, +6", "pools", good.promoted)
        add("tail, told", "pools", good.told)
        alone = turn(random, better, ALONE)
        add("tail, +6", "alone", alone.promoted)
        add("tail, told", "alone", alone.told)
        for question, points in (
            ("pool lost 20", spread),
            ("half lost, 20 in all", uneven),
            ("-20 inside", {one: 0.20}),
            ("-40 inside", {one: 0.40}),
            ("gone inside", {one: RIGHT}),
        ):
            add(question, "pools", turn(random, with_loss(better, points)).promoted)


KEYS = {
    "pool_equal_failed": ("equal pool fails", "pools"),
    "pool_lost_promoted": ("pool lost 20", "pools"),
    "pool_half_lost_promoted": ("half lost, 20 in all", "pools"),
    "pool_inside20_promoted": ("-20 inside", "pools"),
    "pool_inside40_promoted": ("-40 inside", "pools"),
    "pool_inside_gone_promoted": ("gone inside", "pools"),
    "tail_power": ("tail, +6", "pools"),
    "tail_power_alone": ("tail, +6", "alone"),
    "tail_told": ("tail, told", "pools"),
}
"""Keys of the last line, and the question and rule of each."""
