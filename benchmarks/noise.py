"""What does wrong feedback cost, after curation has been over it?

    python benchmarks/noise.py [--quick] [--seeds N] [--kinds uniform neighbour rater] [--data DIR]

Five seeds and up to twenty pieces of feedback an intent from twenty raters, the same texts in
every run. Of the feedback 10, 20 and 40 % is wrong: `uniform`, any other intent; `neighbour`,
always the intent that is most like the right one; `rater`, all of it from one of the twenty, who
is always wrong, half the time with the neighbour, and busy enough to give that share. The worker's
cross-fit judges labels and raters, curation refuses, caps and weighs as in a turn, the worker
trains on the rest with the configuration's balance; val is dev. `loss_R` is the macro accuracy on
test that perfect labels, all of them learnt, have and these have not, in points, the mean of the
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

from flywheel import curation
from flywheel.config.tables import CurationTable, TrainingTable
from flywheel.datasets import TrainingSet, assemble, rows_table, sample_id
from flywheel.records import NONE, Sample
from flywheel.worker import models
from flywheel.worker.models.protocol import ModelSettings

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "clinc150"
RATES = (10, 20, 40)
KINDS = ("uniform", "neighbour", "rater")
QUICK_INTENTS, QUICK_RATES = 20, (20,)
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
            right = bench.samples([(row, "") for row in bench.feedback])
            perfect = bench.macro(right, f"perfect-{seed}", seed)
            figures.setdefault("perfect", []).append(perfect)
            print(f"seed {seed}: perfect labels {perfect:.2f}", flush=True)
            for kind in asked.kinds:
                for rate in QUICK_RATES if asked.quick else RATES:
                    found = bench.spoiled(kind, rate / 100, seed)
                    found["loss"] = round(perfect - found.pop("macro"), 2)
                    for key, value in found.items():
                        figures.setdefault(f"{key}_{rate}", []).append(value)
                        figures.setdefault(f"{key}_{rate}_{kind}", []).append(value)
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
        self.dev = tuple(
            Sample(
                id=sample_id(row.text, row.intent, None, "seed", "dev"),
                text=row.text,
                intent=row.intent,
                origin="seed",
                split="dev",
            )
            for row in sets["val"]
        )

    def deal(self, seed: int) -> None:
        """Seeds and feedback of every intent."""
        rows = list(self.sets["train"])
        random.Random(seed).shuffle(rows)
        by = {name: [row for row in rows if row.intent == name] for name in self.names}
        self.seeds = [row for name in self.names for row in by[name][:SEEDS]]
        self.feedback = [r for name in self.names for r in by[name][SEEDS : SEEDS + FEEDBACK]]

    def samples(self, said: Sequence[tuple[Row, str]]) -> list[Sample]:
        """As curation sees them; feedback with its rater."""
        pairs = [("seed", row, "") for row in self.seeds]
        pairs += [("feedback", row, rater) for row, rater in said]
        return [
            Sample(
                id=sample_id(row.text, row.intent, None, origin, "train"),
                text=row.text,
                intent=row.intent,
                origin=origin,  # type: ignore[arg-type]
                split="train",
                provenance={"rater": rater, "rater_kind": "user"} if rater else {},
            )
            for origin, row, rater in pairs
        ]

    def spoiled(self, kind: str, rate: float, seed: int) -> dict[str, float]:
        """Macro accuracy with so much wrong feedback, and how well it was found."""
        dice = random.Random(f"{seed} {kind} {rate}")
        samples = self.samples([self._said(row, kind, rate, dice) for row in self.feedback])
        truth = {row.text: row.intent for row in self.feedback}
        wrong = {s.id for s in samples if truth.get(s.text, s.intent) != s.intent}
        name = f"{kind}-{rate}-{seed}"
        kept = self._curated(samples, name, seed)
        left = {sample.id for sample in kept}
        refused = {sample.id for sample in samples} - left
        hits = len(wrong & refused)
        return {
            "macro": self.macro(kept, name, seed),
            "precision": round(100 * hits / max(1, len(refused)), 1),
            "recall": round(100 * hits / max(1, len(wrong)), 1),
        }

    def _curated(self, samples: Sequence[Sample], name: str, seed: int) -> tuple[Sample, ...]:
        """What a turn would learn from."""
        rule = CurationTable()
        scores = self._doubts(samples, name, seed)
        believed = curation.believe(samples, scores)
        bars = curation.bars(samples, believed)
        kept = curation.label_noise(samples, scores, rule.noise_ratio, rule.noise_share, bars).kept
        return curation.weighed(
            curation.capped(kept, believed, scores, rule.rater_cap).kept, believed
        )

    def macro(self, samples: Sequence[Sample], name: str, seed: int) -> float:
        """Macro accuracy on test of what the worker makes of the samples."""
        path = self.place / f"{name}.parquet"
        learnt = TrainingSet(train=tuple(samples), dev=self.dev)
        pq.write_table(assemble(learnt, TrainingTable().balance)[1], path)
        told: dict[str, Any] = {"dataset": str(path)}
        told["intents"] = [{"name": name, "arguments": []} for name in self.names]
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

    def _doubts(
        self, samples: Sequence[Sample], name: str, seed: int
    ) -> dict[str, curation.NoiseScore]:
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
            row["id"]: curation.NoiseScore(
                **{key: row[key] for key in ("p_label", "top", "p_top", "odds")}
            )
            for row in rows
        }

    def _neighbours(self) -> dict[str, str]:
        """The intent whose dev texts lie nearest, by the frozen base."""
        cache = self.place / "cache"
        settings = ModelSettings(base=jobs.BASE, max_length=64, cache_dir=cache)
        model = models.open_model(settings)
        rows = self.sets["val"]
        x = model.embed([row.text for row in rows], lambda _: None)
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
