"""Deals a labelled set out to the roles of the loop: seeds, dev, golden, labels, teacher, traffic.

Pure but for `read`. A set is a folder with train.jsonl and test.jsonl, and val.jsonl where there
is one; a line is {"text", "intent", …}. No text, however it is spelled, is dealt twice, and none
of test is dealt at all. The same seed deals the same way.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
