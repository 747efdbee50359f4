"""What does wrong feedback cost, after curation has been over it? The present rule and the former.

    python benchmarks/noise.py [--quick] [--seeds N] [--data DIR] [--cache DIR]
        [--sets own near split twins unequal] [--kinds uniform neighbour rater] [--rates 5 10 20]
        [--model worker|logistic]

Five seeds, ten dev texts and up to twenty pieces of feedback an intent from twenty raters; both
rules and perfect labels see the same texts, and both rules the same wrong labels. Of the feedback a
share is wrong: `uniform`, any other intent; `neighbour`, always the intent that is most like the
right one; `rater`, all of it from one of the twenty, who is always wrong, half the time with the
neighbour, and busy enough to give that share. The worker's cross-fit judges labels, curation
refuses, weighs and caps as in a turn, and the worker trains on the rest; with `--model logistic`
a logistic regression on the frozen embedding learns instead. Test is up to forty further texts an
intent. The sets are those of `hard_sets`: all but `own` are made from the data by a
seeded construction, as stand-ins for sets of many overlapping intents.

`loss` is the macro accuracy on test that perfect labels, all of them learned, have and these have
not, in points; `precision` and `recall` are of the refusals, in percent, summed over seeds. The
last line is one JSON object; its keys end in the set, the kind and the rate, those of the former
rule begin with `former_`.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

import jobs
import pyarrow.parquet as pq
import torch
from former_noise_rule import former_rule
from hard_sets import SETS, feedback_of, made, neighbours
from partition import Row, read
from torch import Tensor

from flywheel import curation
from flywheel.config.tables import CurationTable, TrainingTable
from flywheel.datasets import TrainingSet, assemble, rows_table, sample_id
from flywheel.records import NONE, Sample
from flywheel.worker import crossfit, logistic, models
from flywheel.worker.models.protocol import ModelSettings

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "clinc150"
RATES, KINDS = (5, 10, 20), ("uniform", "neighbour", "rater")
QUICK_INTENTS, QUICK_RATES = 20, (20,)
SEEDS, DEV, FEEDBACK, TEST, RATERS = 5, 10, 20, 40, 20


@dataclass(slots=True)
class Tally:
    """One rule on one set with one kind of noise: refusals, and points lost a seed."""

    refused: int = 0
    wrong: int = 0
    hits: int = 0
    losses: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, float | None]:
        """precision and recall in percent, loss in points; precision is None without refusals."""
        return {
            "precision": round(100 * self.hits / self.refused, 1) if self.refused else None,
            "recall": round(100 * self.hits / max(1, self.wrong), 1),
            "refused": self.refused,
            "loss": round(mean(self.losses), 2),
        }


def main() -> int:
    """Run the benchmark; 0 when it ran, whatever the figures are."""
    asked = _arguments()
    tallies: dict[tuple[str, str], Tally] = defaultdict(Tally)
    with tempfile.TemporaryDirectory(prefix="noise-") as place:
        texts = _Texts(asked, Path(place))
        for name in asked.sets:
            for seed in range(asked.seeds):
                bench = _Bench(texts, name, seed, asked)
                perfect = bench.macro(bench.samples(bench.feedback), "perfect")
                print(f"{name} seed {seed}: {len(bench.names)} intents, {perfect:.2f}", flush=True)
                for kind in asked.kinds:
                    for rate in asked.rates:
                        bench.compare(kind, rate, perfect, tallies)
    told = {
        f"{rule}{key}_{name}": value
        for (rule, name), tally in tallies.items()
        for key, value in tally.figures().items()
    }
    print(json.dumps({"benchmark": "noise", "quick": asked.quick, "seeds": asked.seeds, **told}))
    return 0


class _Texts:
    """All texts of the data with their embeddings; what is out of scope is left out."""

    def __init__(self, asked: argparse.Namespace, place: Path) -> None:
        self.place = place
        cache = asked.cache or place / "cache"
        self.cache = {"cache_dir": str(cache)}
        rows = {row.text.casefold(): row for split in _SPLITS for row in read(asked.data, split)}
        inside = [row for row in rows.values() if row.intent != NONE]
        names = sorted({row.intent for row in inside})
        if asked.quick:
            kept = set(names[:: max(1, len(names) // QUICK_INTENTS)][:QUICK_INTENTS])
            inside = [row for row in inside if row.intent in kept]
        self.rows = _few(inside)
        settings = ModelSettings(base=jobs.BASE, max_length=64, cache_dir=cache)
        texts = [row.text for row in self.rows]
        self.x = models.open_model(settings).embed(texts, lambda _: None).float()
        self.place_of = {row.text: n for n, row in enumerate(self.rows)}


_SPLITS = ("train", "val", "test")
_MOST = 160  # texts of an intent that are looked at


def _few(rows: Sequence[Row]) -> list[Row]:
    """At most `_MOST` texts of each intent, by a fixed lot."""
    by: dict[str, list[Row]] = defaultdict(list)
    for row in random.Random("few").sample(list(rows), len(rows)):
        if len(by[row.intent]) < _MOST:
            by[row.intent].append(row)
    return [row for name in sorted(by) for row in by[name]]


class _Bench:
    """The texts of one set and seed, and what training on them gives."""

    def __init__(self, texts: _Texts, name: str, seed: int, asked: argparse.Namespace) -> None:
        self.texts, self.name, self.seed, self.asked = texts, name, seed, asked
        rows = made(name, texts.rows, texts.x)
        random.Random(f"{name} {seed}").shuffle(rows)
        by: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            by[row.intent].append(row)
        self.names = sorted(by)
        sizes = feedback_of(name, self.names, FEEDBACK, seed)
        self.seeds: list[Row] = []
        self.dev: list[Row] = []
        self.feedback: list[tuple[Row, str]] = []
        self.test: list[Row] = []
        for intent in self.names:
            one = by[intent]
            a, b = SEEDS, SEEDS + DEV
            c = b + min(sizes[intent], max(0, len(one) - b - 5))
            self.seeds += one[:a]
            self.dev += one[a:b]
            self.feedback += [(row, "") for row in one[b:c]]
            self.test += one[c : c + TEST]
        dev = [(texts.place_of[row.text], row.intent) for row in self.dev]
        self.like = neighbours(texts.x[[place for place, _ in dev]], [name for _, name in dev])

    def compare(
        self, kind: str, rate: int, perfect: float, tallies: dict[tuple[str, str], Tally]
    ) -> None:
        """Both rules on the same wrong labels."""
        dice = random.Random(f"{self.name} {self.seed} {kind} {rate}")
        said = [self._said(row, kind, rate / 100, dice) for row, _ in self.feedback]
        samples = self.samples(said)
        truth = {row.text: row.intent for row, _ in self.feedback}
        wrong = {s.id for s in samples if truth.get(s.text, s.intent) != s.intent}
        for rule in ("", "former_"):
            kept = self.curated(samples, former=bool(rule))
            refused = {s.id for s in samples} - {s.id for s in kept}
            tally = tallies[rule, f"{self.name}_{kind}_{rate}"]
            tally.refused += len(refused)
            tally.wrong += len(wrong)
            tally.hits += len(wrong & refused)
            tally.losses.append(perfect - self.macro(kept, f"{rule}{kind}-{rate}"))
            print(
                f"{self.name} seed {self.seed} {kind} {rate} % {rule or 'now'}: "
                f"{len(wrong & refused)} of {len(refused)} refused are wrong, of {len(wrong)}; "
                f"loss {tally.losses[-1]:.2f}",
                flush=True,
            )

    def samples(self, said: Sequence[tuple[Row, str]]) -> list[Sample]:
        """As curation sees them; feedback with its rater."""
        pairs = [("seed", row, "") for row in self.seeds]
        pairs += [("feedback", row, rater) for row, rater in said]
        return [_sample(row, origin, "train", rater) for origin, row, rater in pairs]

    def curated(self, samples: Sequence[Sample], *, former: bool) -> tuple[Sample, ...]:
        """What a turn would learn from."""
        table = CurationTable()
        dev = [] if former else [_sample(row, "seed", "dev") for row in self.dev]
        scores = self._scores(samples, dev)
        believed = curation.believe(samples, scores)
        if former:
            refused = former_rule(samples, scores, believed)
            kept = tuple(sample for sample in samples if sample.id not in refused)
        else:
            kept = curation.mislabelled(samples, dev, scores, believed, table).kept
        return curation.weighed(
            curation.capped(kept, believed, scores, table.rater_cap).kept, believed
        )

    def _scores(
        self, samples: Sequence[Sample], dev: Sequence[Sample]
    ) -> dict[str, curation.NoiseScore]:
        """By the worker's cross-fit, in this process."""
        both = [*samples, *dev]
        x, labels = self._embedded(both), sorted({s.intent for s in both})
        y = torch.tensor([labels.index(s.intent) for s in both])
        folds = CurationTable().noise_folds
        fold = crossfit.folds([s.text for s in both], [s.intent for s in both], folds, self.seed)
        trusted = torch.tensor([s.origin == "seed" for s in both])
        p = crossfit.out_of_fold(x, y, fold, len(labels), trusted)
        odds, top = crossfit.fit_odds(p, y)
        return {
            s.id: curation.NoiseScore(
                p_label=float(p[n, y[n]]),
                top=labels[int(top[n])],
                p_top=float(p[n, top[n]]),
                odds=float(odds[n]),
            )
            for n, s in enumerate(both)
        }

    def macro(self, samples: Sequence[Sample], name: str) -> float:
        """Macro accuracy on test, in percent, of what is made of the samples."""
        if self.asked.model == "logistic":
            said = self._by_logistic(samples)
        else:
            said = self._by_worker(samples, f"{self.name}-{self.seed}-{name}")
        right: Counter[str] = Counter()
        for row, intent in zip(self.test, said, strict=True):
            right[row.intent] += row.intent == intent
        counts = Counter(row.intent for row in self.test)
        return 100 * mean(right[intent] / count for intent, count in counts.items())

    def _by_logistic(self, samples: Sequence[Sample]) -> list[str]:
        learned = [*samples, *(_sample(row, "seed", "train") for row in self.dev)]
        y = torch.tensor([self.names.index(s.intent) for s in learned])
        weights = torch.tensor([s.weight for s in learned])
        sums = torch.zeros(len(self.names)).index_add_(0, y, weights)
        even = weights / sums[y] * len(learned) / len(self.names)
        x = self._embedded(learned)
        head = logistic.fit(x, y, len(self.names), weights=even, steps=60)
        places = [self.texts.place_of[row.text] for row in self.test]
        return [self.names[n] for n in head.logits(self.texts.x[places]).argmax(1).tolist()]

    def _by_worker(self, samples: Sequence[Sample], name: str) -> list[str]:
        place, cache = self.texts.place, self.texts.cache
        path = place / f"{name}.parquet"
        dev = tuple(_sample(row, "seed", "dev") for row in self.dev)
        learnt = TrainingSet(
            train=tuple(samples), dev=dev, learned=frozenset(sample.id for sample in dev)
        )
        pq.write_table(assemble(learnt, TrainingTable().balance)[1], path)
        told: dict[str, Any] = {"dataset": str(path)}
        told["intents"] = [{"name": intent, "arguments": []} for intent in self.names]
        told |= cache | {"recipe": self.asked.recipe, "seed": self.seed}
        jobs.run(place / f"train-{name}", "train", told, self.asked.threads)
        folder = place / f"predict-{name}"
        folder.mkdir()
        ids = [(str(n), row.text) for n, row in enumerate(self.test)]
        pq.write_table(rows_table(ids), folder / "rows.parquet")
        adapters = {"a": str(place / f"train-{name}" / "adapter")}
        jobs.run(folder, "predict", cache | {"adapters": adapters}, self.asked.threads)
        said: list[str] = pq.read_table(folder / "predictions.parquet")["intent"].to_pylist()
        return said

    def _embedded(self, samples: Sequence[Sample]) -> Tensor:
        return self.texts.x[[self.texts.place_of[sample.text] for sample in samples]]

    def _said(self, row: Row, kind: str, rate: float, dice: random.Random) -> tuple[Row, str]:
        """A text as one of the raters labelled it, and who."""
        spoilt = dice.random() < rate
        rater = f"u-{dice.randrange(1, RATERS)}"
        if kind == "rater" and spoilt:
            rater, kind = "u-0", dice.choice(("uniform", "neighbour"))
        if not spoilt:
            return row, rater
        others = [name for name in self.names if name != row.intent]
        label = self.like[row.intent] if kind == "neighbour" else dice.choice(others)
        return Row(row.text, label), rater


def _sample(row: Row, origin: Any, split: Any, rater: str = "") -> Sample:
    return Sample(
        id=sample_id(row.text, row.intent, None, origin, split),
        text=row.text,
        intent=row.intent,
        origin=origin,
        split=split,
        provenance={"rater": rater, "rater_kind": "user"} if rater else {},
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_INTENTS} intents, 20 %%")
    parser.add_argument("--seeds", type=int, help="3, or 1 when quick")
    parser.add_argument("--sets", nargs="+", default=["own"], choices=SETS)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--rates", nargs="+", type=int, help="percent of the feedback")
    parser.add_argument("--model", default="worker", choices=("worker", "logistic"))
    parser.add_argument("--recipe", default="balanced")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cache", type=Path, help="folder of the base's states, kept for later")
    parser.add_argument("--data", type=Path, default=DATA)
    asked = parser.parse_args()
    asked.seeds = asked.seeds or (1 if asked.quick else 3)
    asked.rates = asked.rates or list(QUICK_RATES if asked.quick else RATES)
    return asked


if __name__ == "__main__":
    raise SystemExit(main())
