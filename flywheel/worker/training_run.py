"""One training: its rows, the heads it starts from, LoRA, and the embeddings of what it made."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flywheel.records import NONE
from flywheel.worker import base as bases
from flywheel.worker import logistic, lora, precision, recipe_search, recipes, slots, tuning
from flywheel.worker.checkpoints import Line
from flywheel.worker.dataset_rows import Split
from flywheel.worker.frozen_states import FrozenStates, States
from flywheel.worker.logistic import Linear
from flywheel.worker.progress import Part
from flywheel.worker.recipes import Recipe
from flywheel.worker.slots import IGNORED
from flywheel.worker.tuning import Heads
from flywheel.worker.upper_layers import Finished, finish

_CURVE_ROWS = 512  # of dev are looked at after each epoch
_MAX_TAG_TOKENS = 40_000  # the start of the tag head is fitted on no more


@dataclass(frozen=True, slots=True)
class Unseen:
    """Dev rows, which training does not see, and their states."""

    rows: Split
    states: States


class Work:
    """One training: what its steps share."""

    def __init__(
        self,
        spec: Mapping[str, Any],
        recipe: Recipe,
        trunk: FrozenStates,
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

    def pick(self, unseen: Unseen, folder: Path, part: Part) -> list[recipe_search.Round]:
        """Take the recipe that successive halving finds; its rounds."""

        def score(recipe: Recipe, share: float) -> float:
            work = self.share(share)
            work.recipe = replace(recipe, layers=self.recipe.layers)
            path = folder / f"checkpoint-{recipe.name}-{share}.safetensors"
            here = part.part(0.0, 1.0, f"{recipe.name} on {share:.0%}")
            made = work.tune(work.start(), unseen, path, here)
            return float(made.curve[made.epoch - 1]["dev_accuracy"])

        budget = 60 * float(self.spec.get("budget_minutes", 10))
        chosen, rounds = recipe_search.pick(recipes.TRAINING, len(self.train.texts), budget, score)
        self.recipe = replace(chosen, layers=self.recipe.layers)
        return rounds

    def share(self, share: float) -> Work:
        """The same work on a share of the rows, at least one an intent."""
        order = torch.randperm(len(self.y), generator=torch.Generator().manual_seed(self.seed))
        left = {n: math.ceil(share * int((self.y == n).sum())) for n in range(len(self.labels))}
        rows = []
        for row in order.tolist():
            if left[int(self.y[row])] > 0:
                left[int(self.y[row])] -= 1
                rows.append(row)
        rows.sort()
        states, train = self.states.take(rows), self.train.take(rows)
        return Work(self.spec, self.recipe, self.trunk, train, self.labels, states)

    def learnable(self, unseen: Unseen) -> list[int]:
        """The dev rows that may be learned, by number.

        Those of `none` are not among them: they set the threshold, see `choice.settle`.
        """
        if not self.recipe.epochs:
            return []
        known, intents = set(self.labels) - {NONE}, unseen.rows.intents
        weights = unseen.rows.weights.tolist()
        return [row for row, weight in enumerate(weights) if weight > 0 and intents[row] in known]

    def joined(self, unseen: Unseen) -> Work | None:
        """The same work with the dev rows that may be learned; None when there are none."""
        more = self.learnable(unseen)
        return self.plus(unseen.rows.take(more), unseen.states.take(more)) if more else None

    def plus(self, more: Split, learned: States) -> Work:
        """The same work with more rows.

        An intent weighs in sum what it weighed without them: whatever balance the dataset was
        given stays.
        """
        both = self.train.plus(more)
        y = torch.tensor([self.labels.index(intent) for intent in both.intents])
        sums = torch.zeros(2, len(self.labels))
        sums[0].index_add_(0, self.y, self.train.weights)
        sums[1].index_add_(0, y, both.weights)
        both = replace(both, weights=both.weights * (sums[0] / sums[1].clamp(min=1e-9))[y])
        states = States(
            [*self.states.hidden, *learned.hidden],
            torch.cat([self.states.embedding, learned.embedding]),
        )
        return Work(self.spec, self.recipe, self.trunk, both, self.labels, states)

    def start(self) -> Heads:
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
        start: Heads,
        unseen: Unseen | None,
        checkpoint: Path,
        part: Part,
        epochs: int | None = None,
    ) -> tuning.Training:
        """LoRA from the base, and its learning curve, on dev where rows of it are unseen."""
        encoder = self.trunk.encoder
        if not self.recipe.epochs:
            made = tuning.initial(encoder, self.trunk.depth, self.recipe, start, self.seed)
            return tuning.Training(made, [], 0)
        dtype = precision.number_type()
        rows = tuning.TrainingRows(
            hidden=self.states.hidden, labels=self.y, weights=self.train.weights, tags=self.tags
        )

        def watch(end: tuning.EpochEnd) -> tuning.EpochResult:
            line: Line = {"epoch": end.epoch, "loss": round(end.loss, 4)}
            right = None
            if unseen and unseen.rows.texts:
                few = unseen.states.take(range(min(_CURVE_ROWS, len(unseen.rows.texts))))
                x = self.finished(end.tuned, few).embedding
                best = end.tuned.head.logits(x).argmax(1).tolist()
                pairs = zip(best, unseen.rows.intents, strict=False)
                right = torch.tensor([self.labels[i] == intent for i, intent in pairs])
                line["dev_accuracy"] = round(float(right.float().mean()), 4)
            part(end.epoch / self.recipe.epochs, "epoch done", **line)
            return tuning.EpochResult(line, right)

        return tuning.tune(
            encoder,
            self.trunk.depth,
            self.recipe,
            rows,
            start,
            seed=self.seed,
            dtype=dtype,
            checkpoint=checkpoint,
            fingerprint=self._fingerprint(dtype),
            watch=watch,
            report=part,
            epochs=epochs,
        )

    def finished(self, tuned: tuning.Tuned, states: States) -> Finished:
        """Embeddings of texts by what was trained, and token states where it spells arguments."""
        if not self.recipe.epochs and tuned.tag_head is None:
            return Finished(states.embedding, [])
        trunk = self.trunk
        upper = lora.merged(trunk.encoder, trunk.depth, tuned.factors, self.recipe.alpha)
        tokens = tuned.tag_head is not None
        return finish(upper, trunk.base.width, states.hidden, tokens=tokens)

    def _fingerprint(self, dtype: torch.dtype) -> str:
        facts = [asdict(self.recipe), self.seed, self.spec["threads"], self.spec["max_length"]]
        facts.append(str(dtype))
        facts += [self.trunk.base.sha256, self.trunk.depth, self.labels, self.slots]
        facts += [self.train.texts, self.train.intents, self.train.weights.tolist()]
        facts.append([dict(a) if a is not None else None for a in self.train.arguments])
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
