"""The fourteen ways in which a loop rots, and what each does to the rows that are dealt. Pure.

A rot is a record of what differs from the clean stream; `loopbench_streams` lets it speak.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from partition import Partition, Row

from flywheel.records import NONE

Speaks = Literal["verdicts", "complaints", "praise", "bare"]
Wrong = Literal["mixed", "uniform", "neighbour"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rot:
    """What is unfriendly about a stream; every default is the clean stream."""

    name: str
    says: str  # one line for the table
    wrong: float = 0.10  # share of the feedback that is wrong
    wrong_by: Wrong = "mixed"  # mixed: half the model's best wrong intent, half any
    bad_rater: float = 0.0  # share of the feedback that is of one rater, who is always wrong
    colluders: float = 0.0  # share of the raters who call one intent another, always
    speaks: Speaks = "verdicts"
    delayed: bool = False  # feedback comes a turn later, a fifth of it twice
    drift: bool = False  # other texts and other intents from turn to turn
    new_intents: int = 0  # that nobody seeded; named in corrections before they are configured
    zipf: bool = False  # rows and traffic of intents, steeply
    twins: int = 0  # pairs of intents of which 30 % of the texts may be either
    golden: tuple[int, ...] = ()  # golden rows an intent, in turn
    teacher: bool = False  # one that is often wrong


CLEAN = Rot(name="clean", says="no rot: a tenth of the feedback is wrong")

ROTS = (
    Rot(name="uniform", says="30 % of the feedback names any other intent", wrong=0.30,
        wrong_by="uniform"),
    Rot(name="neighbour", says="20 % names the intent most like the right one", wrong=0.20,
        wrong_by="neighbour"),
    Rot(name="one_rater", says="a fifth of the feedback is of one rater, always wrong",
        bad_rater=0.20),
    Rot(name="colluders", says="5 % of the raters call one intent another", colluders=0.05),
    Rot(name="complaints", says="only thumbs down, by the annoyed", speaks="complaints"),
    Rot(name="praise", says="only thumbs up", speaks="praise"),
    Rot(name="bare", says="right or wrong, never what would be right", speaks="bare"),
    Rot(name="delay", says="feedback a turn late, a fifth of it sent twice", delayed=True),
    Rot(name="drift", says="other texts and other intents each turn", drift=True),
    Rot(name="new_intent", says="two intents that only traffic knows", new_intents=2),
    Rot(name="zipf", says="1,000 to 3 rows an intent, as far as the set has them", zipf=True),
    Rot(name="twins", says="three pairs share 30 % of their texts", twins=3),
    Rot(name="small_golden", says="5 golden rows of half the intents, 15 of the others",
        golden=(5, 15)),
    Rot(name="wrong_teacher", says="a teacher of whom 40 % is wrong", teacher=True),
)  # fmt: skip
QUICK = ("neighbour", "complaints", "zipf", "twins")

BY_NAME = {rot.name: rot for rot in (CLEAN, *ROTS)}

_MOST, _LEAST, _STEEP = 1000, 3, 1.7  # rows of the largest and the smallest intent
_SHARED = 0.30


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoiled:
    """The rows of a rot, and what only the benchmark knows of them."""

    partition: Partition
    late: tuple[str, ...] = ()  # intents that nobody seeded


def spoil(partition: Partition, rot: Rot, like: Mapping[str, str], seed: int) -> Spoiled:
    """Deal what the rot makes of the rows. Test rows stay as they are.

    Args:
        like: the intent that each intent is most like.
        seed: of what is picked.
    """
    chance = random.Random(f"rot {rot.name} {seed}")
    late: tuple[str, ...] = ()
    if rot.golden:
        partition = replace(partition, golden=_few(partition.golden, rot.golden))
    if rot.new_intents:
        late = tuple(sorted(chance.sample(partition.intents, rot.new_intents)))
        partition = replace(
            partition,
            seeds=_without(partition.seeds, late),
            dev=_without(partition.dev, late),
            golden=_without(partition.golden, late),
        )
    if rot.twins:
        pairs = _pairs(partition.intents, like, rot.twins, chance)
        partition = _mixed(partition, pairs, chance)
    return Spoiled(partition=partition, late=late)


def _without(rows: Sequence[Row], names: Sequence[str]) -> tuple[Row, ...]:
    return tuple(row for row in rows if row.intent not in names)


def _few(rows: Sequence[Row], counts: Sequence[int]) -> tuple[Row, ...]:
    """The first rows of every intent: `counts` in turn over the intents; `none` keeps its own."""
    names = sorted({row.intent for row in rows} - {NONE})
    most = {name: counts[place % len(counts)] for place, name in enumerate(names)}
    seen: dict[str, int] = {}
    kept = []
    for row in rows:
        seen[row.intent] = seen.get(row.intent, 0) + 1
        if seen[row.intent] <= most.get(row.intent, len(rows)):
            kept.append(row)
    return tuple(kept)


def thinned(names: Sequence[str], rows: Sequence[Row], seed: int) -> list[Row]:
    """Rows of the intent at rank r: 1000 / r^1.7 of those that it has, three at least.

    To be dealt anew, so that every role gets its share of what is left.
    """
    ranked = list(names)
    random.Random(f"zipf {seed}").shuffle(ranked)
    left = {name: max(_LEAST, round(_MOST / rank**_STEEP)) for rank, name in enumerate(ranked, 1)}
    kept = []
    for row in rows:
        if left.get(row.intent, 1) > 0:
            kept.append(row)
            if row.intent in left:
                left[row.intent] -= 1
    return kept


def _pairs(
    names: Sequence[str], like: Mapping[str, str], count: int, chance: random.Random
) -> dict[str, str]:
    """`count` pairs of intents that are like each other, each name once."""
    pairs: dict[str, str] = {}
    for name in chance.sample(list(names), len(names)):
        other = like[name]
        if len(pairs) < 2 * count and name not in pairs and other not in pairs:
            pairs |= {name: other, other: name}
    return pairs


def _mixed(partition: Partition, twins: Mapping[str, str], chance: random.Random) -> Partition:
    """Of each twin's rows 30 % get one of the two names, by a coin, in every role."""

    def named(rows: Sequence[Row]) -> tuple[Row, ...]:
        return tuple(
            Row(row.text, chance.choice((row.intent, twins[row.intent])))
            if row.intent in twins and chance.random() < _SHARED
            else row
            for row in rows
        )

    every = [row for rows in partition.traffic.values() for row in rows]
    traffic: dict[str, list[Row]] = {name: [] for name in partition.traffic}
    for row in named(every):
        traffic[row.intent].append(row)
    return replace(
        partition,
        seeds=named(partition.seeds),
        dev=named(partition.dev),
        golden=named(partition.golden),
        traffic={name: tuple(rows) for name, rows in traffic.items()},
    )
