"""Deals a labelled set out to the roles of the loop: seeds, dev, golden, labels, teacher, traffic.

Pure but for `read`. A set is a folder with train.jsonl and test.jsonl, and val.jsonl where there
is one; a line is {"text", "intent", …}. No text, however it is spelled, is dealt twice, and none
of test is dealt at all. The same seed deals the same way.

`deal` gives fixed numbers an intent and leaves the rest. `deal_all` deals every row of any set:
intents of unequal size, sets without val or without out-of-scope rows; what it cannot deal it
counts.
"""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flywheel.curation import normalise
from flywheel.records import NONE

OUT_OF_SCOPE = frozenset({"oos", NONE})
"""How sets name a text that asks for no intent."""


@dataclass(frozen=True, slots=True)
class Row:
    """A text and its right intent."""

    text: str
    intent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """Rows of train per intent, dealt in this order; what is left becomes traffic.

    Golden takes all of val besides. An intent with fewer rows fills the first roles first.
    """

    seeds: int = 5
    dev: int = 10
    golden: int = 10
    labels: int = 10
    teacher: int = 15
    traffic: int = 50


ALL = Quota(golden=30, labels=0, teacher=0, traffic=50)
"""What `deal_all` gives an intent that has the rows; labels come from traffic, as people give
them. 30 golden rows resolve a margin of .20 unless two of them are lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """Who sees what. `test` is for the benchmark alone."""

    intents: tuple[str, ...]  # in scope, sorted
    seeds: tuple[Row, ...]
    dev: tuple[Row, ...]
    golden: tuple[Row, ...]
    labels: Mapping[str, tuple[Row, ...]]  # answers to gates that ask for labels, by intent
    teacher: Mapping[str, tuple[Row, ...]]  # kept for a teacher, by intent
    traffic: Mapping[str, tuple[Row, ...]]  # by intent, `none` among them
    test: tuple[Row, ...]
    left: Mapping[str, int] = field(default_factory=dict)  # rows not dealt, by why; of `deal_all`


def read(folder: Path, split: str) -> list[Row]:
    """The rows of one file; an absent val is empty."""
    path = folder / f"{split}.jsonl"
    if split == "val" and not path.exists():
        return []
    if not path.exists():
        raise SystemExit(f"{path} is missing: name a folder that has it by --data")
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line)
    return [Row(row["text"], _intent(row["intent"])) for row in rows]


def deal(
    train: Sequence[Row],
    val: Sequence[Row],
    test: Sequence[Row],
    *,
    seed: int,
    quota: Quota | None = None,
    most_intents: int | None = None,
) -> Partition:
    """Deal train and val out.

    Args:
        train, val, test: as `read` returns them.
        seed: of the order in which an intent's rows are dealt, and of the intents kept.
        quota: rows per role.
        most_intents: keep only this many intents, picked by the seed.
    """
    quota = quota or Quota()
    names = sorted({row.intent for row in train} - {NONE})
    chance = random.Random(f"partition {seed}")
    names = sorted(chance.sample(names, min(most_intents or len(names), len(names))))
    taken = {normalise(row.text) for row in test}
    golden = [row for row in _unseen(val, taken) if row.intent in {*names, NONE}]
    by_intent = defaultdict(list)
    for row in _unseen(train, taken):
        by_intent[row.intent].append(row)
    dealt: dict[str, dict[str, tuple[Row, ...]]] = {}
    for name in [*names, NONE]:
        rows = by_intent[name]
        chance.shuffle(rows)
        dealt[name] = _deal_one(rows, quota, out_of_scope=name == NONE)
    every = [dealt[name] for name in [*names, NONE]]
    return Partition(
        intents=tuple(names),
        seeds=tuple(row for one in every for row in one["seeds"]),
        dev=tuple(row for one in every for row in one["dev"]),
        golden=(*golden, *(row for one in every for row in one["golden"])),
        labels={name: dealt[name]["labels"] for name in dealt},
        teacher={name: dealt[name]["teacher"] for name in dealt},
        traffic={name: dealt[name]["traffic"] for name in dealt},
        test=tuple(row for row in test if row.intent in {*names, NONE}),
    )


def deal_all(
    train: Sequence[Row],
    val: Sequence[Row],
    test: Sequence[Row],
    *,
    seed: int,
    quota: Quota = ALL,
    most_intents: int | None = None,
) -> Partition:
    """Deal every row of train and val; rows that cannot be dealt are counted in `left`.

    An intent with the quota's rows or more fills each role and sends all the rest as traffic. One
    with fewer is dealt in the same proportions, by largest remainder, but for one row each of
    seeds, golden, traffic and dev, in this order, as far as they go. Golden rows are those of val
    first.

    Args:
        train, val, test: as `read` returns them.
        seed: of the order in which an intent's rows are dealt, and of the intents kept.
        quota: rows per role.
        most_intents: keep only this many intents, picked by the seed.
    """
    names = sorted({row.intent for row in train} - {NONE})
    chance = random.Random(f"partition {seed}")
    kept = {*chance.sample(names, min(most_intents or len(names), len(names))), NONE}
    left: Counter[str] = Counter()
    taken = {normalise(row.text) for row in test}
    by_intent: dict[str, list[Row]] = {name: [] for name in sorted(kept - {NONE})}
    by_intent[NONE] = []
    for rows in (val, train):
        inside = [row for row in rows if row.intent in kept]
        fresh = _unseen(inside, taken)
        left["of intents not kept"] += len(rows) - len(inside)
        left["repeated, or in test"] += len(inside) - len(fresh)
        chance.shuffle(fresh)
        for row in fresh:
            by_intent[row.intent].append(row)
    scored = [row for row in test if row.intent in kept]
    left["test rows of intents not kept"] = len(test) - len(scored)
    dealt = {
        name: _deal_whole(rows, quota, out_of_scope=name == NONE)
        for name, rows in by_intent.items()
    }
    return Partition(
        intents=tuple(name for name in dealt if name != NONE),
        seeds=tuple(row for one in dealt.values() for row in one["seeds"]),
        dev=tuple(row for one in dealt.values() for row in one["dev"]),
        golden=tuple(row for one in dealt.values() for row in one["golden"]),
        labels={name: one["labels"] for name, one in dealt.items()},
        teacher={name: one["teacher"] for name, one in dealt.items()},
        traffic={name: one["traffic"] for name, one in dealt.items()},
        test=tuple(scored),
        left={why: count for why, count in left.items() if count},
    )


def _deal_whole(
    rows: Sequence[Row], quota: Quota, *, out_of_scope: bool
) -> dict[str, tuple[Row, ...]]:
    """All of one intent's rows, golden ones from the front: those of val."""
    shares = {
        "golden": quota.golden,
        "seeds": 0 if out_of_scope else quota.seeds,
        "dev": quota.dev,
        "labels": quota.labels,
        "teacher": 0 if out_of_scope else quota.teacher,
        "traffic": quota.traffic,
    }
    counts = shares if len(rows) >= sum(shares.values()) else proportional(shares, len(rows))
    dealt, start = {}, 0
    for role in shares:
        end = len(rows) if role == "traffic" else start + counts[role]
        dealt[role] = tuple(rows[start:end])
        start = end
    return dealt


def proportional(shares: Mapping[str, int], count: int) -> dict[str, int]:
    """Share `count` rows out by largest remainder, after one each for the first four roles.

    >>> proportional({"golden": 30, "seeds": 5, "dev": 10, "traffic": 50}, 19)
    {'golden': 6, 'seeds': 2, 'dev': 2, 'traffic': 9}
    """
    first = [role for role in ("seeds", "golden", "traffic", "dev") if shares[role]][:count]
    counts = dict.fromkeys(shares, 0) | dict.fromkeys(first, 1)
    rest = count - len(first)
    total = sum(shares.values())
    exact = {role: rest * share / total for role, share in shares.items()}
    for role, value in exact.items():
        counts[role] += int(value)
    by_remainder = sorted(exact, key=lambda role: (int(exact[role]) - exact[role], role))
    for role in by_remainder[: count - sum(counts.values())]:
        counts[role] += 1
    return counts


def _intent(name: str) -> str:
    return NONE if name in OUT_OF_SCOPE else name


def _unseen(rows: Sequence[Row], taken: set[str]) -> list[Row]:
    """Rows whose text was not met yet; `taken` learns them."""
    fresh = []
    for row in rows:
        key = normalise(row.text)
        if key not in taken:
            taken.add(key)
            fresh.append(row)
    return fresh


def _deal_one(
    rows: Sequence[Row], quota: Quota, *, out_of_scope: bool
) -> dict[str, tuple[Row, ...]]:
    """One intent's rows. Nobody seeds or writes what is out of scope: that share is traffic."""
    counts = {
        "seeds": 0 if out_of_scope else quota.seeds,
        "dev": quota.dev,
        "golden": quota.golden,
        "labels": quota.labels,
        "teacher": 0 if out_of_scope else quota.teacher,
        "traffic": quota.traffic + (quota.seeds + quota.teacher if out_of_scope else 0),
    }
    dealt, start = {}, 0
    for role, count in counts.items():
        dealt[role] = tuple(rows[start : start + count])
        start += count
    return dealt
