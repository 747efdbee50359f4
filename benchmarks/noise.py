"""What does wrong feedback cost, after the noise rule has been over it?

    python benchmarks/noise.py [--quick] [--seeds N] [--kinds uniform neighbour rater] [--data DIR]

Five seeds and up to twenty pieces of feedback an intent, the same texts in every run. Of the
feedback 10, 20 and 40 % is wrong: `uniform`, any other intent; `neighbour`, always the intent
that is most like the right one; `rater`, all of it from one of twenty people, who is wrong as
often as it takes to spoil a twentieth (the same at every rate). The worker's cross-fit and the
curation rule refuse what they doubt, the worker trains on the rest; val is dev. `loss_R` is the
macro accuracy on test that perfect labels have and these have not, in points, the mean of the
kinds; precision and recall are of the refusals. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import jobs
import pyarrow.parquet as pq
from partition import Row, read

from flywheel.config.tables import CurationTable
from flywheel.curation.noise import NoiseScore, label_noise
from flywheel.datasets import rows_table, sample_id
from flywheel.records import NONE, Sample
from flywheel.worker import base
from flywheel.worker.trunk import Trunk

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "clinc150"
RATES = (10, 20, 40)
KINDS = ("uniform", "neighbour", "rater")
QUICK_INTENTS, QUICK_RATES = 30, (20,)
SEEDS, FEEDBACK, RATERS = 5, 20, 20


def main() -> int:
    """Run the benchmark; 0 when it ran, whatever the figures are."""
    asked = _arguments()
    sets = {name: read(asked.data, name) for name in ("train", "val", "test")}
    names = sorted({row.intent for row in sets["train"]} - {NONE})
    names = names[:QUICK_INTENTS] if asked.quick else names
    sets = {name: [r for r in rows if r.intent in names] for name, rows in sets.items()}
    figures: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="noise-") as place:
        bench = _Bench(Path(place), sets, names, asked)
        for seed in range(asked.seeds):
            bench.deal(seed)
            perfect = bench.macro(bench.samples(bench.feedback), f"perfect-{seed}", seed)
            figures.setdefault("perfect", []).append(perfect)
            print(f"seed {seed}: perfect labels {perfect:.2f}", flush=True)
            for kind in asked.kinds:
                for rate in QUICK_RATES if asked.quick else RATES:
                    found = bench.spoiled(kind, rate / 100, seed)
                    for key, value in found.items():
                        figures.setdefault(f"{key}_{rate}", []).append(
                            perfect - value if key == "loss" else value
                        )
                    print(f"seed {seed} {kind} {rate} %: {found}", flush=True)
    rounded = {name: round(mean(values), 2) for name, values in figures.items()}
    print(json.dumps({"benchmark": "noise", "quick": asked.quick, **rounded}))
    return 0


class _Bench:
    """The texts of one seed, and what training on them gives."""

    def __init__(
        self,
        place: Path,
        sets: dict[str, list[Row]],
        names: Sequence[str],
        asked: argparse.Namespace,
    ) -> None:
        self.place, self.sets, self.names, self.asked = place, sets, names, asked
        self.cache = {"cache_dir": str(place / "cache")}
        self.like = self._neighbours()

    def deal(self, seed: int) -> None:
        """Seeds and feedback of every intent."""
        rows = list(self.sets["train"])
        random.Random(seed).shuffle(rows)
        by = {name: [row for row in rows if row.intent == name] for name in self.names}
        self.seeds = [row for name in self.names for row in by[name][:SEEDS]]
        self.feedback = [r for name in self.names for r in by[name][SEEDS : SEEDS + FEEDBACK]]

    def samples(self, feedback: Sequence[Row]) -> list[Sample]:
        """As curation sees them."""
        pairs = [("seed", row) for row in self.seeds] + [("feedback", row) for row in feedback]
        return [
            Sample(
                id=sample_id(row.text, row.intent, None, origin, "train"),
                text=row.text,
                intent=row.intent,
                origin=origin,  # type: ignore[arg-type]
                split="train",
            )
            for origin, row in pairs
        ]

    def spoiled(self, kind: str, rate: float, seed: int) -> dict[str, float]:
        """Macro accuracy with so much wrong feedback, and how well it was found."""
        dice = random.Random(f"{seed} {kind} {rate}")
        said = [Row(row.text, self._said(row.intent, kind, rate, dice)) for row in self.feedback]
        samples = self.samples(said)
        truth = {row.text: row.intent for row in self.feedback}
        wrong = {s.id for s in samples if truth.get(s.text, s.intent) != s.intent}
        name = f"{kind}-{rate}-{seed}"
        rule = CurationTable()
        scores = self._doubts(samples, name, seed)
        kept = label_noise(samples, scores, rule.noise_ratio, rule.noise_share)
        refused = {refusal.sample.id for refusal in kept.refused}
        hits = len(wrong & refused)
        return {
            "loss": self.macro(list(kept.kept), name, seed),
            "precision": 100 * hits / max(1, len(refused)),
            "recall": 100 * hits / max(1, len(wrong)),
        }

    def macro(self, samples: Sequence[Sample], name: str, seed: int) -> float:
        """Macro accuracy on test of what the worker makes of the samples."""
        dev = [(row.text, row.intent) for row in self.sets["val"]]
        train = [(sample.text, sample.intent) for sample in samples]
        told: dict[str, Any] = jobs.dataset(self.place / f"{name}.parquet", train, dev)
        told |= self.cache | {"recipe": self.asked.recipe, "seed": seed}
        jobs.run(self.place / f"train-{name}", "train", told, self.asked.threads)
        folder = self.place / f"predict-{name}"
        folder.mkdir()
        test = self.sets["test"]
        ids = [(str(n), row.text) for n, row in enumerate(test)]
        pq.write_table(rows_table(ids), folder / "rows.parquet")
        adapters = {"a": str(self.place / f"train-{name}" / "adapter")}
        jobs.run(folder, "predict", self.cache | {"adapters": adapters}, self.asked.threads)
        said = pq.read_table(folder / "predictions.parquet")["intent"].to_pylist()
        right = {name: [0, 0] for name in self.names}
        for row, intent in zip(test, said, strict=True):
            right[row.intent][0] += row.intent == intent
            right[row.intent][1] += 1
        return 100 * mean(hits / count for hits, count in right.values())

    def _said(self, intent: str, kind: str, rate: float, dice: random.Random) -> str:
        if kind == "rater":
            rate = 1.0 if dice.randrange(RATERS) == 0 else 0.0
        if dice.random() >= rate:
            return intent
        if kind == "neighbour":
            return self.like[intent]
        return dice.choice([name for name in self.names if name != intent])

    def _doubts(self, samples: Sequence[Sample], name: str, seed: int) -> dict[str, NoiseScore]:
        folder = self.place / f"crossfit-{name}"
        folder.mkdir()
        table = rows_table(
            [(s.id, s.text) for s in samples],
            intent=[s.intent for s in samples],
            origin=[s.origin for s in samples],
        )
        pq.write_table(table, folder / "rows.parquet")
        folds = CurationTable().noise_folds
        told = self.cache | {"folds": folds, "seed": seed}
        jobs.run(folder, "crossfit", told, self.asked.threads)
        rows = pq.read_table(folder / "scores.parquet").to_pylist()
        return {
            row["id"]: NoiseScore(**{key: row[key] for key in ("p_label", "top", "p_top", "odds")})
            for row in rows
        }

    def _neighbours(self) -> dict[str, str]:
        """The intent whose dev texts lie nearest, by the frozen base."""
        trunk = Trunk(base.load(jobs.BASE), 3, 64, self.place / "cache")
        rows = self.sets["val"]
        x = trunk.states([row.text for row in rows]).embedding
        centres = {
            name: x[[n for n, row in enumerate(rows) if row.intent == name]].mean(0)
            for name in self.names
        }
        return {
            name: max((float(centre @ c), other) for other, c in centres.items() if other != name)[
                1
            ]
            for name, centre in centres.items()
        }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_INTENTS} intents, 20 %%")
    parser.add_argument("--seeds", type=int, help="3, or 1 when quick")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--recipe", default="balanced")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", type=Path, default=DATA)
    asked = parser.parse_args()
    asked.seeds = asked.seeds or (1 if asked.quick else 3)
    return asked


if __name__ == "__main__":
    raise SystemExit(main())
