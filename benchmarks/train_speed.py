"""How fast does it train and answer, next to an ordinary Trainer with peft?

    python benchmarks/train_speed.py [--quick] [--seeds N] [--threads N] [--data DIR]

Rows of the training set, the same for all, in interleaved runs; samples per processor second of
the loop alone, which a busy machine disturbs less than wall time.

hf_trainer: defaults (batches of 8, float32, dropout) over the same LoRA modules on all layers;
same_adapter: this project's loop over all layers; cached: over the upper three with kept states,
the cost of keeping them counted in; both by the recipe `balanced`, and by `thorough`, whose epochs
leave out a fifth of the tokens. A second turn has a tenth more rows and the cache of the first,
whole processes compared. infer_vs_peft: answers of two models to rows that were judged before, as
the gates ask each turn, against unmerged peft in batches of 64; infer_new_vs_peft: to new rows.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import jobs
import peft
import torch
import transformers
from partition import Row, read

from flywheel.records import NONE
from flywheel.worker import device, logistic
from flywheel.worker.models import base
from flywheel.worker.models.encoder import lora, tuning
from flywheel.worker.models.encoder.frozen_states import FrozenStates, run_upper
from flywheel.worker.models.encoder.layers import Encoder, pool
from flywheel.worker.recipes import DEFAULT, LAYERS, RECIPES, Recipe

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "clinc150"
EPOCHS = 4  # over which the cost of keeping states is spread
THOROUGH = RECIPES["thorough"]
TURN_ROWS, DEV_ROWS = 6000, 500


def main() -> int:
    """Run the benchmark; 0 when it ran, whatever the figures are."""
    asked = _arguments()
    torch.set_num_threads(asked.threads)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    rows = [row for row in read(asked.data, "train") if row.intent != NONE]
    random.Random(0).shuffle(rows)
    few = rows[: 192 if asked.quick else 480]
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="speed-") as place, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        setup = _Setup(few)
        for number in range(asked.seeds):
            for name, measure in setup.measures(Path(place), number).items():
                found.setdefault(name, []).append(measure())
                print(f"{name}: {found[name][-1]:.0f} samples/s", flush=True)
        turns = _turns(Path(place), rows[: 600 if asked.quick else TURN_ROWS], asked)
    speed = {name: median(values) for name, values in found.items()}
    figures = {
        "vs_hf_same_adapter": speed["same_adapter"] / speed["hf_trainer"],
        "vs_hf_trainer": speed["cached"] / speed["hf_trainer"],
        "vs_hf_same_adapter_thorough": speed["same_thorough"] / speed["hf_trainer"],
        "vs_hf_trainer_thorough": speed["cached_thorough"] / speed["hf_trainer"],
        "infer_vs_peft": speed["known_rows"] / speed["peft"],
        "infer_new_vs_peft": speed["new_rows"] / speed["peft"],
        "parity": setup.parity(),
        **turns,
    }
    rounded = {name: round(value, 3) for name, value in figures.items()}
    print(json.dumps({"benchmark": "train_speed", "quick": asked.quick, **rounded}))
    return 0


class _Setup:
    """One base, one set of rows, and the ways to train on it and to answer."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.base = base.load(jobs.BASE)
        self.encoder = Encoder.load(self.base)
        self.texts = [row.text for row in rows]
        labels = sorted({row.intent for row in rows})
        self.y = torch.tensor([labels.index(row.intent) for row in rows])
        self.classes = len(labels)
        frozen = FrozenStates(self.base, 0, 64, None)
        self.ids = frozen.states(self.texts)
        self.head = logistic.fit(self.ids.embedding, self.y, self.classes)
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(self.base.folder)
        with tempfile.TemporaryDirectory() as place:
            self.factors = self._tune(Path(place), 0, LAYERS)[1]
        self.unmerged = self._peft()

    def measures(self, place: Path, number: int) -> dict[str, Callable[[], float]]:
        return {
            "hf_trainer": lambda: self._hf_trainer(place / f"hf-{number}"),
            "same_adapter": lambda: self._tune(place, number, self.base.depth)[0],
            "cached": lambda: self._tune(place, number, LAYERS)[0],
            "same_thorough": lambda: self._tune(place, number, self.base.depth, THOROUGH)[0],
            "cached_thorough": lambda: self._tune(place, number, LAYERS, THOROUGH)[0],
            "peft": lambda: self._answers(self._by_peft),
            "new_rows": lambda: self._two_models(known=False),
            "known_rows": lambda: self._two_models(known=True),
        }

    def _tune(
        self, place: Path, number: int, layers: int, recipe: Recipe = DEFAULT
    ) -> tuple[float, lora.Factors]:
        """Samples per second of our loop, one epoch; keeping states is a part of EPOCHS."""
        depth = self.base.depth - layers
        keeping, hidden = 0.0, self.ids.hidden
        if depth:
            frozen = FrozenStates(self.base, depth, 64, None)
            frozen.encoder = self.encoder
            began = time.process_time()
            hidden = frozen.states(self.texts).hidden
            keeping = (time.process_time() - began) / EPOCHS
        rows = tuning.TrainingRows(
            hidden=hidden, labels=self.y, weights=torch.ones(len(self.y)), tags=None
        )
        marks: list[float] = []
        made = tuning.tune(
            self.encoder,
            depth,
            replace(recipe, epochs=1),
            rows,
            (self.head, None),
            seed=number,
            dtype=device.number_type(),
            checkpoint=place / f"{layers}-{recipe.name}.safetensors",
            fingerprint=str(time.time()),
            watch=lambda _: tuning.EpochResult({}),
            report=lambda *_: marks.append(time.process_time()),
        )
        steps = len(marks)
        spent = (marks[-1] - marks[0]) * steps / (steps - 1) + keeping
        return len(self.y) / spent, made.tuned.factors

    def _hf_trainer(self, place: Path) -> float:
        model = transformers.AutoModelForSequenceClassification.from_pretrained(
            self.base.folder, num_labels=self.classes
        )
        modules = [f"bert.{name}" for name in self.encoder.linear(0)]
        model = peft.get_peft_model(
            model,
            peft.LoraConfig(task_type="SEQ_CLS", r=16, lora_alpha=32, target_modules=modules),
        )
        data = [
            {**self.tokenizer(text, truncation=True), "labels": int(y)}
            for text, y in zip(self.texts, self.y, strict=True)
        ]
        settings = transformers.TrainingArguments(
            output_dir=str(place), num_train_epochs=1, report_to=[], use_cpu=True,
            disable_tqdm=True, save_strategy="no", logging_strategy="no",
        )  # fmt: skip
        trainer = transformers.Trainer(
            model=model, args=settings, train_dataset=data, processing_class=self.tokenizer
        )
        began = time.process_time()
        trainer.train()
        return len(data) / (time.process_time() - began)

    def _answers(self, by: Callable[[], torch.Tensor]) -> float:
        began = time.process_time()
        by()
        return len(self.texts) / (time.process_time() - began)

    def _two_models(self, *, known: bool) -> float:
        """Answers per second of the gates' way, for champion and challenger."""
        frozen = self._frozen()
        if known:
            frozen.states(self.texts)
        began = time.process_time()
        for _ in range(2):
            self._by_evaluation(frozen)
        return 2 * len(self.texts) / (time.process_time() - began)

    def _frozen(self) -> FrozenStates:
        frozen = FrozenStates(self.base, self.base.depth - LAYERS, 64, None)
        frozen.encoder = self.encoder
        return frozen

    def _peft(self) -> Any:
        model = transformers.AutoModel.from_pretrained(self.base.folder)
        end, start = ".lora_A.weight", "base_model.model."
        modules = [n.removesuffix(end).removeprefix(start) for n in self.factors if end in n]
        made = peft.LoraConfig(r=16, lora_alpha=32, target_modules=modules)
        tuned = peft.get_peft_model(model, made)
        peft.set_peft_model_state_dict(tuned, dict(self.factors))
        return tuned.eval()

    @torch.inference_mode()
    def _by_peft(self) -> torch.Tensor:
        """Unmerged, batches of 64 as they come, padded to the longest."""
        found = []
        for start in range(0, len(self.texts), 64):
            some = self.texts[start : start + 64]
            batch = self.tokenizer(some, padding=True, return_tensors="pt")
            last = self.unmerged(**batch).last_hidden_state
            embedding = pool(last, batch["attention_mask"].bool(), "mean")
            found.append(self.head.logits(embedding).argmax(1))
        return torch.cat(found)

    def _by_evaluation(self, frozen: FrozenStates) -> torch.Tensor:
        """The gates' way: read once, merged upper layers, buckets of like length."""
        states = frozen.states(self.texts)
        upper = lora.merged(self.encoder, frozen.depth, self.factors, DEFAULT.alpha)
        x = run_upper(upper, self.base.width, states.hidden).embedding
        return self.head.logits(x).argmax(1)

    def parity(self) -> float:
        """Share of rows that both ways answer alike."""
        return float((self._by_peft() == self._by_evaluation(self._frozen())).float().mean())


def _turns(place: Path, rows: Sequence[Row], asked: argparse.Namespace) -> dict[str, float]:
    """Two trainings as jobs: cold cache, then a tenth more rows over the cache of the first."""
    known = {row.intent for row in rows}
    val = [row for row in read(asked.data, "val") if row.intent in known]
    random.Random(0).shuffle(val)
    dev = [(row.text, row.intent) for row in val[:DEV_ROWS]]
    cache, few = {"cache_dir": str(place / "cache")}, len(rows) * 10 // 11
    done: dict[str, jobs.Done] = {}
    for name, count in (("first", few), ("second", len(rows))):
        pairs = [(row.text, row.intent) for row in rows[:count]]
        told = jobs.dataset(place / f"{name}.parquet", pairs, dev) | cache
        told |= {"recipe": DEFAULT.name}
        done[name] = jobs.run(place / name, "train", told, asked.threads)
        accuracy = done[name].values["metrics"]["dev_accuracy"]
        print(f"{name} turn, {count} rows: {done[name].cpu_s:.1f} CPU s, {accuracy:.4f} on dev",
              flush=True)  # fmt: skip
    speedup = done["first"].cpu_s / done["second"].cpu_s
    return {"second_turn_speedup": speedup, "peak_mb": done["second"].peak_mb}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rows, one run of each")
    parser.add_argument("--seeds", type=int, help="interleaved runs: 3, or 1 when quick")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", type=Path, default=DATA)
    asked = parser.parse_args()
    asked.seeds = asked.seeds or (1 if asked.quick else 3)
    return asked


if __name__ == "__main__":
    raise SystemExit(main())
