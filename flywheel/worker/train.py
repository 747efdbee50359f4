"""From a dataset to an adapter folder: frozen states, heads, LoRA, and the choices made on dev."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flywheel.errors import FlywheelError
from flywheel.worker import adapter as adapters
from flywheel.worker import base as bases
from flywheel.worker import (
    halving,
    heads,
    logistic,
    lora,
    predict,
    recipes,
    scope,
    slots,
    splits,
    tuning,
)
from flywheel.worker.adapter import Trained
from flywheel.worker.curve import draw
from flywheel.worker.finish import finish
from flywheel.worker.jobs import Part, Progress
from flywheel.worker.logistic import Linear
from flywheel.worker.recipes import Recipe
from flywheel.worker.slots import IGNORED
from flywheel.worker.splits import Split
from flywheel.worker.trunk import States, Trunk

_CURVE_ROWS = 512  # of dev are looked at after each epoch
_MAX_TAG_TOKENS = 40_000  # the start of the tag head is fitted on no more


def run(folder: Path, spec: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Train on the dataset's `train` rows, choose on its `dev` rows, write folder/adapter.

    Returns:
        values: adapter (content id), metrics, threshold.

    Raises:
        FlywheelError: fewer than two intents have training rows, or a name is unknown.
    """
    recipe = recipes.named(spec["recipe"])
    train, dev = splits.read(Path(spec["dataset"]))
    labels = sorted(set(train.intents))
    if len(labels) < 2:
        raise FlywheelError(
            f"{len(labels)} intents have training samples; at least two are needed",
            hint="import seeds: flywheel samples import FILE",
        )
    base = bases.load(spec["base"])
    recipe = replace(recipe, layers=min(recipe.layers, base.depth))
    cache = Path(spec["cache_dir"]) if spec.get("cache_dir") else None
    depth = base.depth - recipe.layers
    trunk = Trunk(base, depth, int(spec["max_length"]), cache)
    part = progress.part(0.0, 0.3 if recipe.epochs else 0.9, "reading texts")
    states = trunk.states(train.texts + dev.texts, part)
    n = len(train.texts)
    below = States(states.hidden[:n], states.embedding[:n])
    work = _Work(spec, recipe, trunk, train, labels, below)
    training = progress.part(0.3, 0.9, "")
    tried: list[halving.Round] = []
    if spec["recipe"] == recipes.AUTO and dev.texts:
        tried = work.pick(dev, states.hidden[n:], folder, training.part(0.0, 0.6, "trying"))
        training = training.part(0.6, 1.0, "")
    start = work.start()
    checkpoint = folder / "checkpoint.safetensors"
    tuned, curve = work.tune(start, dev, states.hidden[n:], checkpoint, training)
    draw(folder / "curve.svg", curve)
    trained, metrics = work.choose(start, tuned, dev)
    metrics |= {"train_rows": n, "dev_rows": len(dev.texts), "curve": curve, "chosen_on": "dev"}
    metrics |= {"kept": trunk.kept, "recipe": work.recipe.name, "tried": tried}
    metrics |= _measure(trained, trunk, dev)
    facts = {name: spec.get(name) for name in ("parent", "code_version", "created_at", "seed")}
    chosen = work.recipe
    facts |= {"recipe": chosen.name, "recipe_values": asdict(chosen), "metrics": metrics}
    facts["dataset"] = Path(spec["dataset"]).stem
    name = adapters.write(folder / "adapter", trained, trunk.encoder, facts)
    progress.say(1.0, f"trained {name}")
    return {"adapter": name, "metrics": metrics, "threshold": trained.scope.threshold}


class _Work:
    """One training: what its steps share."""

    def __init__(
        self,
        spec: Mapping[str, Any],
        recipe: Recipe,
        trunk: Trunk,
        train: Split,
        labels: list[str],
        states: States,
    ) -> None:
        self.spec, self.recipe, self.trunk, self.train = spec, recipe, trunk, train
        self.labels, self.states = labels, states
        self.seed = int(spec["seed"])
        self.y = torch.tensor([labels.index(i) for i in train.intents])
        self.arguments = {i["name"]: list(i.get("arguments", ())) for i in spec["intents"]}
        known = {name for names in self.arguments.values() for name in names}
        pairs = list(zip(train.texts, train.arguments, strict=True))
        self.slots = [name for name in slots.slot_names(pairs) if name in known]
        self.tags: list[Tensor] | None = None
        if self.slots:
            encodings = bases.encode(trunk.tokenizer, train.texts)
            self.tags = [
                torch.tensor(slots.tags_of(encoding, text, values, self.slots))
                for encoding, (text, values) in zip(encodings, pairs, strict=True)
            ]

    def pick(
        self, dev: Split, dev_hidden: Sequence[Tensor], folder: Path, part: Part
    ) -> list[halving.Round]:
        """Take the recipe that successive halving finds; its rounds."""

        def score(recipe: Recipe, share: float) -> float:
            work = self.share(share)
            work.recipe = replace(recipe, layers=self.recipe.layers)
            path = folder / f"checkpoint-{recipe.name}-{share}.safetensors"
            here = part.part(0.0, 1.0, f"{recipe.name} on {share:.0%}")
            curve = work.tune(work.start(), dev, dev_hidden, path, here)[1]
            return float(curve[-1]["dev_accuracy"])

        budget = 60 * float(self.spec.get("budget_minutes", 10))
        chosen, rounds = halving.pick(recipes.TRAINING, len(self.train.texts), budget, score)
        self.recipe = replace(chosen, layers=self.recipe.layers)
        return rounds

    def share(self, share: float) -> _Work:
        """The same work on a share of the rows, at least one an intent."""
        order = torch.randperm(len(self.y), generator=torch.Generator().manual_seed(self.seed))
        left = {n: math.ceil(share * int((self.y == n).sum())) for n in range(len(self.labels))}
        rows = []
        for row in order.tolist():
            if left[int(self.y[row])] > 0:
                left[int(self.y[row])] -= 1
                rows.append(row)
        rows.sort()
        states = States([self.states.hidden[i] for i in rows], self.states.embedding[rows])
        return _Work(self.spec, self.recipe, self.trunk, self.train.take(rows), self.labels, states)

    def start(self) -> tuple[Linear, Linear | None]:
        """Heads fitted on the frozen base."""
        head = self.fit(self.states.embedding)
        if self.tags is None:
            return head, None
        budget, rows = _MAX_TAG_TOKENS, []
        for row in torch.randperm(
            len(self.tags), generator=torch.Generator().manual_seed(self.seed)
        ).tolist():
            if budget > 0 and (self.tags[row] != IGNORED).any():
                rows.append(row)
                budget -= len(self.tags[row])
        hidden = [self.states.hidden[i] for i in rows]
        frozen = self.trunk.encoder.upper(self.trunk.depth)
        done = finish(frozen, self.trunk.base.width, hidden, tokens=True)
        tags = torch.cat([self.tags[i] for i in rows])
        tokens = torch.cat(done.tokens)[tags != IGNORED]
        tag_head = logistic.fit(tokens, tags[tags != IGNORED], 1 + 2 * len(self.slots), c=0.1)
        return head, tag_head

    def fit(self, embedding: Tensor) -> Linear:
        """Logistic regression over the training rows' embeddings."""
        return logistic.fit(embedding, self.y, len(self.labels), weights=self.train.weights)

    def tune(
        self,
        start: tuple[Linear, Linear | None],
        dev: Split,
        dev_hidden: Sequence[Tensor],
        checkpoint: Path,
        part: Part,
    ) -> tuple[tuning.Tuned, list[tuning.Line]]:
        """LoRA from the base, and its learning curve."""
        encoder = self.trunk.encoder
        if not self.recipe.epochs:
            return tuning.initial(encoder, self.trunk.depth, self.recipe, start, self.seed), []
        rows = tuning.Rows(
            hidden=self.states.hidden, labels=self.y, weights=self.train.weights, tags=self.tags
        )

        def watch(end: tuning.EpochEnd) -> tuning.Line:
            line: tuning.Line = {"epoch": end.epoch, "loss": round(end.loss, 4)}
            if dev_hidden:
                x = self._embed(end.tuned, dev_hidden[:_CURVE_ROWS])
                best = end.tuned.head.logits(x).argmax(1).tolist()
                pairs = zip(best, dev.intents, strict=False)
                hits = sum(self.labels[i] == intent for i, intent in pairs)
                line["dev_accuracy"] = round(hits / len(best), 4)
            part(end.epoch / self.recipe.epochs, "epoch done", **line)
            return line

        return tuning.tune(
            encoder,
            self.trunk.depth,
            self.recipe,
            rows,
            start,
            seed=self.seed,
            checkpoint=checkpoint,
            fingerprint=self._fingerprint(),
            watch=watch,
            report=part,
        )

    def choose(
        self, start: tuple[Linear, Linear | None], tuned: tuning.Tuned, dev: Split
    ) -> tuple[Trained, dict[str, Any]]:
        """Head, temperature and out-of-scope rule, on dev."""
        states = self.trunk.states(dev.texts)
        x, candidates = states.embedding, {"logistic": tuned.head}
        if self.recipe.epochs:
            refit = self.fit(self._embed(tuned, self.states.hidden))
            x = self._embed(tuned, states.hidden) if dev.texts else x
            both = heads.mean(tuned.head, refit)
            candidates = {"mean": both, "trained": tuned.head, "refit": refit}
        known = [row for row, intent in enumerate(dev.intents) if intent in set(self.labels)]
        y = torch.tensor([self.labels.index(dev.intents[row]) for row in known], dtype=torch.int64)
        picked = heads.best(candidates, x[known], y)
        head, temperature = heads.calibrated(candidates[picked], x[known], y)
        rule = scope.choose(head.logits(x), self.labels, dev.intents)
        trained = Trained(
            base=self.spec["base"],
            base_sha256=self.trunk.base.sha256,
            max_length=int(self.spec["max_length"]),
            depth=self.trunk.depth,
            rank=self.recipe.rank,
            alpha=self.recipe.alpha,
            labels=self.labels,
            arguments=self.arguments,
            slots=self.slots,
            scope=rule,
            factors=tuned.factors,
            head=head,
            tag_head=tuned.tag_head,
        )
        return trained, {"head": picked, "temperature": round(temperature, 4), "scope": rule.score}

    def _embed(self, tuned: tuning.Tuned, hidden: Sequence[Tensor]) -> Tensor:
        trunk = self.trunk
        upper = lora.merged(trunk.encoder, trunk.depth, tuned.factors, self.recipe.alpha)
        return finish(upper, trunk.base.width, hidden).embedding

    def _fingerprint(self) -> str:
        facts = [asdict(self.recipe), self.seed, self.spec["threads"], self.spec["max_length"]]
        facts += [self.trunk.base.sha256, self.trunk.depth, self.labels, self.slots]
        facts += [self.train.texts, self.train.intents, self.train.weights.tolist()]
        facts.append([dict(a) if a is not None else None for a in self.train.arguments])
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _measure(trained: Trained, trunk: Trunk, dev: Split) -> dict[str, Any]:
    """What the finished adapter does on dev; nothing without dev rows."""
    if not dev.texts:
        return {}
    calls = predict.answer(trained, trunk, dev.texts)
    right = [a == b for a, b in zip(calls.intents, dev.intents, strict=True)]
    total, wrong = Counter(dev.intents), Counter[str]()
    for ok, intent in zip(right, dev.intents, strict=True):
        wrong[intent] += not ok
    recalls = [1 - wrong[intent] / total[intent] for intent in total]
    measured: dict[str, Any] = {
        "dev_accuracy": round(sum(right) / len(right), 4),
        "dev_macro": round(sum(recalls) / len(recalls), 4),
        "dev_intents": {intent: [wrong[intent], total[intent]] for intent in sorted(total)},
    }
    judged = [i for i, values in enumerate(dev.arguments) if values is not None]
    if judged:
        exact = [right[i] and calls.arguments[i] == dev.arguments[i] for i in judged]
        measured["dev_exact"] = round(sum(exact) / len(exact), 4)
    return measured
