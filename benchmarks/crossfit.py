"""Could the golden set judge and be learned at once, by cross-fitting? Research: nothing ships it.

    python benchmarks/crossfit.py [--quick] [--seeds N] [--golden N] [--data DIR] [--cache DIR]

Models are logistic regression on the frozen base. A world deals the rows of 20 intents: 20 an
intent to train on, 15 of feedback, 40 golden (`--golden`), and the rest, which only measures. The
champion has learned the first, a challenger the feedback too. In a planted one a part of the
feedback of eight intents has the nearest other's label and counts up to 27 times. Of each intent it
is asked: did the challenger lose .20 or more? by the e-value that the gates use
(`metrics.loss_e_value`, 20 passes), and

- `sealed`: both models learn no golden row, and all of them judge, as the gates do today;
- `half`: both learn one half, the other judges;
- `mean_K`, `product_K`, `pooled_K`: golden in K folds; each judges a pair that learned the others;
  the mean of the folds' e-values, their product, and one e-value of all folds' counts. What then
  serves has learned all of golden, and nothing has judged it.

A pair is harmful where what would serve lost .20 or more on the rows that only measure, and
unharmed where it lost nothing there. `missed`: harmful pairs that passed; `power`: unharmed ones
that did; standard errors are over worlds. `missed_25`: of pairs that lost .25 or more, of which
few owe it to the measuring; `missed_judged`: of those whose judged pairs lost .20 or more, which is
the rule's own error. `gap`: what would serve lost, minus what the judged pairs lost.

The last line is one JSON object: `pairs` (harmful ones, of the rule with the fewest), `missed` and
`power` of the cross-fitted `rule` that has the most power of those that miss .05 at most (one-sided
95 %; null where none does), and every figure of every rule in `rules`.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from loopbench_answers import Answers
from partition import read
from torch import Tensor

from flywheel.curation import normalise
from flywheel.metrics import DECISIVE_E, loss_e_value
from flywheel.records import NONE
from flywheel.worker.logistic import Linear, fit

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "clinc150"
MARGIN = 0.20
TRAIN, FEEDBACK, GOLDEN = 20, 15, 40  # rows an intent
INTENTS, PLANTED = 20, 8  # of one world
LEAST_MEASURING, MOST_ROWS = 40, 400  # of an intent
WEIGHTS = (1.0, 3.0, 9.0, 27.0)  # what a wrong row counts
FOLDS = (2, 5)
COMBINED = tuple(f"{how}_{k}" for how in ("mean", "product", "pooled") for k in FOLDS)
RULES = ("sealed", "half", *COMBINED)
_LEVEL, _ONE_SIDED = 0.05, 1.645
_STEPS, _STEPS_AGAIN = 40, 15  # of L-BFGS; again: from a fit on nearly the same rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Embedded texts of every intent that has enough of them."""

    x: Tensor  # float32 (n, width)
    rows: Mapping[str, Sequence[int]]  # by intent


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One intent of one pair by one rule."""

    world: int
    rule: str
    planted: bool
    lost: float  # by what would serve, on the rows that only measure
    judged_lost: float  # there, by the pairs that were judged; their mean
    passed: bool


def main() -> int:
    """Run it; 0 when it ran, whatever the figures are."""
    asked = _arguments()
    began = time.process_time()
    with tempfile.TemporaryDirectory(prefix="crossfit-") as place:
        corpus = _corpus(asked.data, asked.cache or Path(place), asked.intents, asked.golden)
        print(f"{len(corpus.rows)} intents, {len(corpus.x)} texts", file=sys.stderr, flush=True)
        found: list[Judged] = []
        for seed in range(asked.seeds):
            found += _World(corpus, seed, asked.golden).judged()
            if seed % 10 == 9:
                harmful = sum(_harmful(one) for one in found if one.rule == "sealed")
                spent = time.process_time() - began
                told = f"world {seed + 1}: {harmful} harmful pairs, {spent:.0f} CPU s"
                print(told, file=sys.stderr, flush=True)
    rules = {rule: _figures([one for one in found if one.rule == rule]) for rule in RULES}
    best = _best(rules)
    figures = {
        "pairs": min(each["harmful"] for each in rules.values()),
        "rule": best,
        "missed": rules[best]["missed"] if best else None,
        "power": rules[best]["power"] if best else None,
        "worlds": asked.seeds,
        "cpu_minutes": round((time.process_time() - began) / 60, 1),
        "rules": rules,
    }
    print(json.dumps({"benchmark": "crossfit", "quick": asked.quick, **figures}))
    return 0


def _corpus(data: Path, cache: Path, most: int, golden: int) -> Corpus:
    """Rows of all files, each text once; intents with too few rows are left out."""
    by_intent: dict[str, list[str]] = {}
    seen: set[str] = set()
    for row in (row for split in ("train", "val", "test") for row in read(data, split)):
        if row.intent != NONE and (key := normalise(row.text)) not in seen:
            seen.add(key)
            by_intent.setdefault(row.intent, []).append(row.text)
    least = TRAIN + FEEDBACK + golden + LEAST_MEASURING
    names = sorted(name for name, texts in by_intent.items() if len(texts) >= least)
    if len(names) < PLANTED + 2:
        raise SystemExit(f"{data}: {len(names)} intents have {least} texts; too few to compare")
    chance = random.Random("crossfit")
    names = sorted(chance.sample(names, min(most, len(names))))
    rows, texts = {}, []
    for name in names:
        kept = by_intent[name]
        chance.shuffle(kept)
        kept = kept[:MOST_ROWS]
        rows[name] = range(len(texts), len(texts) + len(kept))
        texts += kept
    return Corpus(x=Answers(cache).embeddings(texts), rows=rows)


class _World:
    """One deal of the rows, its champion and two challengers: a planted one, and one without."""

    def __init__(self, corpus: Corpus, seed: int, golden: int) -> None:
        self.seed, self.chance, self.golden = seed, random.Random(seed), golden
        names = self.chance.sample(sorted(corpus.rows), min(INTENTS, len(corpus.rows)))
        self.x, self.classes = corpus.x, len(names)
        parts: dict[str, list[Tensor]] = {}
        for number, name in enumerate(names):
            rows = list(corpus.rows[name])
            self.chance.shuffle(rows)
            start = 0
            for part, count in (
                ("train", TRAIN), ("feedback", FEEDBACK), ("golden", golden), ("measure", len(rows))
            ):  # fmt: skip
                taken = torch.tensor(rows[start : start + count])
                cells = torch.stack([taken, torch.full_like(taken, number)])  # (2, count)
                parts.setdefault(part, []).append(cells)
                start += count
        self.parts = {part: torch.cat(cells, dim=1) for part, cells in parts.items()}
        self.planted = self.chance.sample(range(self.classes), min(PLANTED, self.classes // 2))
        self.clean = self.chance.sample(range(self.classes), len(self.planted))
        self.wrong, self.weights = self._spoiled()
        self._champions: dict[bytes, Linear] = {}  # by the golden rows that they learned

    def _spoiled(self) -> tuple[Tensor, Tensor]:
        """Labels of the feedback in which the planted intents are partly their neighbour, and what
        each row counts."""
        rows, labels = self.parts["train"]
        centres = torch.stack([self.x[rows[labels == n]].mean(0) for n in range(self.classes)])
        like = centres @ centres.T
        like[:, self.planted] = -1
        y = self.parts["feedback"][1].clone()
        weights = torch.ones(len(y))
        for number in self.planted:
            own = (y == number).nonzero()[:, 0]
            spoiled = own[: self.chance.randint(len(own) // 3, len(own))]
            y[spoiled] = int(like[number].argmax())
            weights[spoiled] = self.chance.choice(WEIGHTS)
        return y, weights

    def judged(self) -> Iterator[Judged]:
        """Every rule's word on the planted intents, and on as many of the other challenger."""
        y = self.parts["golden"][1]
        for planted in (True, False):
            numbers = self.planted if planted else self.clean
            nothing = torch.zeros(len(y), dtype=torch.bool)
            sealed = self._pair(nothing, planted)
            whole = self._pair(~nothing, planted, sealed)
            pairs, judging = {}, {}
            for k in FOLDS:
                fold = torch.tensor([n % k for n in range(self.golden)] * self.classes)
                pairs[k] = [self._pair(fold != n, planted, whole) for n in range(k)]
                judging[k] = [fold == n for n in range(k)]
            for number in numbers:
                of = y == number
                yield self._told("sealed", planted, number, sealed, [sealed], [of], "pooled")
                half = pairs[2][0]
                yield self._told(
                    "half", planted, number, half, [half], [of & judging[2][0]], "pooled"
                )
                for rule in COMBINED:
                    how, _, k = rule.partition("_")
                    parts = [of & part for part in judging[int(k)]]
                    yield self._told(rule, planted, number, whole, pairs[int(k)], parts, how)

    def _pair(self, learned: Tensor, planted: bool, start: _Pair | None = None) -> _Pair:
        """Champion and challenger that learn these golden rows too, bool (golden,)."""
        golden = self.parts["golden"][:, learned]
        train, feedback = self.parts["train"], self.parts["feedback"]
        labels = self.wrong if planted else feedback[1]
        counts = self.weights if planted else torch.ones(len(labels))
        old = torch.cat([train, golden], dim=1)
        new = torch.cat([old, torch.stack([feedback[0], labels])], dim=1)
        weights = torch.cat([torch.ones(old.shape[1]), counts])
        steps = _STEPS_AGAIN if start else _STEPS
        key = learned.numpy().tobytes()
        if key not in self._champions:
            before = start.champion if start else None
            self._champions[key] = fit(
                self.x[old[0]], old[1], self.classes, steps=steps, start=before
            )
        champion = self._champions[key]
        challenger = fit(
            self.x[new[0]], new[1], self.classes, weights=weights,
            steps=steps, start=start.challenger if start else champion,
        )  # fmt: skip
        return _Pair(self, champion, challenger)

    def _told(
        self,
        rule: str,
        planted: bool,
        number: int,
        served: _Pair,
        pairs: Sequence[_Pair],
        judging: Sequence[Tensor],
        how: str,
    ) -> Judged:
        units = [pair.golden[part] for pair, part in zip(pairs, judging, strict=True)]
        measure = self.parts["measure"][1] == number
        return Judged(
            world=self.seed,
            rule=rule,
            planted=planted,
            lost=_lost(served.measure[measure]),
            judged_lost=sum(_lost(pair.measure[measure]) for pair in pairs) / len(pairs),
            passed=_e_value(units, how) >= DECISIVE_E,
        )


class _Pair:
    """Two models, and correct(challenger) - correct(champion) of each row: int64, -1..1."""

    def __init__(self, world: _World, champion: Linear, challenger: Linear) -> None:
        self.champion, self.challenger = champion, challenger
        self.golden = self._differences(world, "golden")
        self.measure = self._differences(world, "measure")

    def _differences(self, world: _World, part: str) -> Tensor:
        rows, y = world.parts[part]
        x = world.x[rows]
        new, old = (
            (model.logits(x).argmax(1) == y).long() for model in (self.challenger, self.champion)
        )
        return new - old


def _lost(differences: Tensor) -> float:
    """Share of rows that were lost, those gained taken off."""
    return -float(differences.float().mean())


def _e_value(folds: Sequence[Tensor], how: str) -> float:
    """Evidence that the intent did not lose the margin, from the differences of each fold."""
    counts = [Counter(map(float, units.tolist())) for units in folds]
    if how == "pooled":
        return loss_e_value(sum(counts, Counter[float]()), MARGIN)
    values = [loss_e_value(each, MARGIN) for each in counts]
    return math.prod(values) if how == "product" else sum(values) / len(values)


def _harmful(one: Judged) -> bool:
    return one.planted and one.lost >= MARGIN - 1e-9


def _figures(found: Sequence[Judged]) -> dict[str, Any]:
    harmful = [one for one in found if _harmful(one)]
    unharmed = [one for one in found if not one.planted and one.lost <= 1e-9]
    surely = [one for one in harmful if one.lost >= MARGIN + 0.05]
    by_rule = [one for one in found if one.planted and one.judged_lost >= MARGIN - 1e-9]
    missed, missed_se = _share(harmful)
    power, power_se = _share(unharmed)
    gaps = [one.lost - one.judged_lost for one in harmful]
    return {
        "harmful": len(harmful),
        "missed": missed,
        "missed_se": missed_se,
        "missed_judged": _share(by_rule)[0],
        "harmful_judged": len(by_rule),
        "missed_25": _share(surely)[0],
        "harmful_25": len(surely),
        "unharmed": len(unharmed),
        "power": power,
        "power_se": power_se,
        "gap": round(sum(gaps) / max(1, len(gaps)), 4),
    }


def _share(found: Sequence[Judged]) -> tuple[float, float]:
    """Share that passed, and its standard error over worlds, whose pairs share their rows."""
    if not found:
        return 0.0, 1.0
    share = sum(one.passed for one in found) / len(found)
    off = Counter[int]()
    for one in found:
        off[one.world] += one.passed - share  # type: ignore[assignment]
    return round(share, 4), round(math.sqrt(sum(v * v for v in off.values())) / len(found), 4)


def _best(rules: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The cross-fitted rule with the most power of those that miss no more than the level."""
    fine = [
        rule
        for rule in COMBINED
        if rules[rule]["missed"] + _ONE_SIDED * rules[rule]["missed_se"] <= _LEVEL
    ]
    return max(fine, key=lambda rule: rules[rule]["power"], default=None)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="12 worlds, of 24 intents")
    parser.add_argument("--seeds", type=int, default=320, help="worlds; each has 16 pairs")
    parser.add_argument("--golden", type=int, default=GOLDEN, help="golden rows an intent")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--cache", type=Path, help="folder that keeps the frozen states")
    asked = parser.parse_args()
    asked.intents = 60
    if asked.quick:
        asked.intents, asked.seeds = 24, 12
    torch.set_num_threads(1)
    return asked


if __name__ == "__main__":
    raise SystemExit(main())
