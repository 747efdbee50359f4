"""The encoder as a kind of model: LoRA in its upper layers, linear heads over the mean of states.

`EncoderModel` is the base with its cache, `EncoderFit` one training, `TrainedEncoder` an adapter
that answers. The heads start from logistic regression on the frozen base; a training may be run
once more with the dev rows, under the choices that were made on them before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flywheel.errors import FlywheelError
from flywheel.records import NONE
from flywheel.worker import device, logistic
from flywheel.worker.dataset_rows import Split, class_numbers
from flywheel.worker.learning_curve import CurveLine
from flywheel.worker.logistic import Linear
from flywheel.worker.models import base as bases
from flywheel.worker.models.base import Base
from flywheel.worker.models.encoder import adapter as adapters
from flywheel.worker.models.encoder import (
    answering,
    engines,
    heads,
    lora,
    onnx_export,
    out_of_scope,
    slots,
    tuning,
)
from flywheel.worker.models.encoder.adapter import EncoderAdapter
from flywheel.worker.models.encoder.answering import EncoderAnswerer, WholeEncoder
from flywheel.worker.models.encoder.card import card
from flywheel.worker.models.encoder.engines import ONNX, TORCH, OnnxEncoder, TorchEncoder
from flywheel.worker.models.encoder.frozen_states import (
    AdaptedStates,
    FrozenStates,
    States,
    run_upper,
)
from flywheel.worker.models.encoder.heads import Candidates, HeadChoice
from flywheel.worker.models.encoder.layers import Encoder
from flywheel.worker.models.encoder.slots import PLACES, Tags
from flywheel.worker.models.encoder.tuning import Heads, Tuned
from flywheel.worker.models.protocol import Calls, Chosen, FitRequest, ModelSettings, Report
from flywheel.worker.progress import Part
from flywheel.worker.recipes import LAYERS, Recipe

_CURVE_ROWS = 512  # of dev are evaluated after each epoch
_MAX_TAG_TOKENS = 40_000  # the tag head's start is fitted on no more


class EncoderModel:
    """A base, and its frozen states by the number of layers that are not trained."""

    def __init__(self, base: Base, settings: ModelSettings) -> None:
        self.base, self.settings = base, settings
        self._max_length = min(settings.max_length, base.longest)
        self._device = device.find(settings.device)
        self._frozen: dict[tuple[int, int], FrozenStates] = {}

    @cached_property
    def encoder(self) -> Encoder:
        """The whole base, loaded when first asked for; shared by everything on it."""
        return Encoder.load(self.base, self._device)

    def limited(self, recipe: Recipe) -> Recipe:
        """The recipe with no more layers than the base has."""
        return replace(recipe, layers=min(recipe.layers, self.base.depth))

    def prepare(self, texts: Sequence[str], recipe: Recipe, report: Report) -> None:
        """Compute the texts' frozen states."""
        self._below(recipe).states(texts, report)

    def fit(self, request: FitRequest, report: Part) -> EncoderFit:
        """Train on the request's rows."""
        return EncoderFit(self._below(request.recipe), request, report)

    def load(self, folder: Path) -> TrainedEncoder:
        """Read an adapter folder and check that it is of this base."""
        adapter = adapters.load(folder)
        if self.base.sha256 != adapter.base_sha256:
            raise FlywheelError(
                f"base model {adapter.base} is not the one the adapter was trained on",
                hint="put the old base back, or train again",
            )
        if adapter.tokenizer_sha256 not in ("", self.base.tokenizer_sha256):
            raise FlywheelError(
                f"base model {adapter.base} has another tokenizer.json than the adapter was "
                "trained with",
                hint=f"put the old file back into {self.base.folder}, or train again",
            )
        if adapter.pooling != self.base.pooling:
            raise FlywheelError(
                f"base model {adapter.base} pools by {self.base.pooling}, and the adapter was "
                f"trained with {adapter.pooling}",
                hint=f"put the old modules.json back into {self.base.folder}, or train again",
            )
        return TrainedEncoder(adapter, self._states_below(adapter.depth, adapter.max_length))

    def embed(self, texts: Sequence[str], report: Report) -> Tensor:
        """The frozen base's last states, pooled as its own files say."""
        depth = max(0, self.base.depth - LAYERS)  # the cache is shared with trainings
        return self._states_below(depth, self._max_length).states(texts, report).embedding

    def _below(self, recipe: Recipe) -> FrozenStates:
        return self._states_below(self.base.depth - recipe.layers, self._max_length)

    def _states_below(self, depth: int, max_length: int) -> FrozenStates:
        if (depth, max_length) not in self._frozen:
            self._frozen[depth, max_length] = FrozenStates(
                self.base,
                depth,
                max_length,
                self.settings.cache_dir,
                self._device,
                load=lambda: self.encoder,
            )
        return self._frozen[depth, max_length]


class TrainedEncoder:
    """An adapter that answers, over the frozen states of its base."""

    def __init__(self, adapter: EncoderAdapter, frozen: FrozenStates) -> None:
        self.adapter = adapter
        self._frozen = frozen

    @property
    def content_id(self) -> str:
        """A hash of everything that an answer depends on."""
        return adapters.content_id(self.adapter)

    @property
    def labels(self) -> Sequence[str]:
        """The intents that it can answer."""
        return self.adapter.labels

    @property
    def arguments(self) -> Mapping[str, Sequence[str]]:
        """Names of the arguments in each intent's schema."""
        return self.adapter.arguments

    @property
    def threshold(self) -> float:
        """Of the out-of-scope score."""
        return self.adapter.scope.threshold

    def answer(self, texts: Sequence[str], report: Report = lambda _: None) -> Calls:
        """Answer each text; frozen states come from the cache where they are known."""
        return self.calls(texts, self.adapted(texts, report))

    def adapted(self, texts: Sequence[str], report: Report = lambda _: None) -> AdaptedStates:
        """Embeddings of texts, and token states where the adapter spells arguments."""
        frozen, adapter = self._frozen, self.adapter
        states = frozen.states(texts, lambda done: report(done / 2))
        tagged = adapter.tag_head is not None and bool(texts)
        if adapter.unchanged and not tagged:
            return AdaptedStates(states.embedding, [])
        return run_upper(
            lora.merged(frozen.encoder, adapter.depth, adapter.factors, adapter.alpha),
            frozen.base.width,
            states.hidden,
            tokens=tagged,
            report=lambda done: report(0.5 + done / 2),
        )

    def calls(self, texts: Sequence[str], states: AdaptedStates) -> Calls:
        """The answers that follow from the texts' adapted states."""
        tagged = self.adapter.tag_head is not None and bool(texts)
        encodings = bases.encode(self._frozen.tokenizer, texts) if tagged else []
        return answering.calls(self.adapter, texts, states, encodings)

    @property
    def size(self) -> tuple[int, ...]:
        """Layers and width of the base."""
        return self._frozen.base.depth, self._frozen.base.width

    @property
    def engines(self) -> Sequence[str]:
        """What can compute this adapter's answers here."""
        runs = self.adapter.graph and engines.onnx_installed() and self._frozen.device == device.CPU
        return (ONNX, TORCH) if runs else (TORCH,)

    def answerer(self, engine: str = TORCH, threads: int = 1) -> EncoderAnswerer:
        """Answer by the whole merged model, from tokens to intent and arguments."""
        encoder, adapter = self._frozen.encoder, self.adapter
        if engine not in self.engines:
            raise self._cannot(engine)
        whole: WholeEncoder = TorchEncoder(encoder, adapter)
        if engine == ONNX:
            whole = OnnxEncoder(encoder, adapter, threads)
        return EncoderAnswerer(adapter, self._frozen.tokenizer, whole)

    def _cannot(self, engine: str) -> FlywheelError:
        """Why an engine is not there for this adapter."""
        name = self.content_id
        if engine != ONNX:
            return FlywheelError(f"there is no engine {engine!r}", hint=f"use {TORCH!r}")
        if not engines.onnx_installed():
            return FlywheelError(
                f"adapter {name} cannot be answered with ONNX Runtime: it is not installed",
                hint="pip install 'flywheel[onnx]', or use the engine \"torch\"",
            )
        if self._frozen.device != device.CPU:
            return FlywheelError(
                f"ONNX Runtime answers on the processor, and the device is {self._frozen.device}",
                hint='use the engine "torch", or the device "cpu"',
            )
        return FlywheelError(
            f"adapter {name} has no graph for ONNX Runtime",
            hint='train again where flywheel[onnx] is installed, or use the engine "torch"',
        )

    def save(self, folder: Path, facts: Mapping[str, Any], *, graph: bool = False) -> str:
        """Write the adapter folder and return the content id."""
        adapter, frozen = self.adapter, self._frozen
        encoder = frozen.encoder
        if graph:
            exported = onnx_export.graph(encoder, adapter.rounded_below, frozen.cache_dir)
            adapter = replace(adapter, graph=exported)
        text = card(adapters.content_id(adapter), adapter, encoder.base.hub_name, facts)
        return adapters.write(folder, adapter, encoder, facts, text)


class EncoderFit:
    """One training: the rows' tags, the heads it starts from, its weights, and the choices on dev.

    Args:
        first: the training whose epoch and choices hold for this one; None chooses on dev.
    """

    def __init__(
        self,
        frozen: FrozenStates,
        request: FitRequest,
        report: Part,
        first: EncoderFit | None = None,
    ) -> None:
        self.request = request
        self._frozen, self._first = frozen, first
        train = request.train
        self._states = frozen.states(train.texts)
        self._y = class_numbers(train.intents, request.labels)  # (n,)
        known = {name for names in request.arguments.values() for name in names}
        pairs = list(zip(train.texts, train.arguments, strict=True))
        self._slots = [name for name in slots.slot_names(pairs) if name in known]
        self._tags: list[Tags] | None = None
        if self._slots:
            encodings = bases.encode(frozen.tokenizer, train.texts)
            self._tags = [
                slots.tags_of(encoding, text, values, self._slots)
                for encoding, (text, values) in zip(encodings, pairs, strict=True)
            ]
        self._start = self._heads_of_the_base()
        self._training = self._train(report)

    @property
    def curve(self) -> list[CurveLine]:
        """Every epoch that was run."""
        return self._training.curve

    @property
    def epoch(self) -> int:
        """The epoch whose weights are taken."""
        return self._training.epoch

    def scores(self, texts: Sequence[str]) -> Tensor:
        """Logits of the trained head: float32 (n, labels)."""
        head = self._training.tuned.head
        if texts == self.request.dev.texts:
            return head.logits(self._dev.embedding)
        return head.logits(self._adapted(self._frozen.states(texts)).embedding)

    def choose(self) -> Chosen:
        """Choose the head, its calibration and the out-of-scope rule on the dev rows."""
        choice = self._choice
        model = self._settled(self._candidates, choice, choice.scope)
        facts: dict[str, Any] = {
            "head": choice.head,
            "temperature": round(choice.temperature, 4),
            "scope": choice.scope.score,
            "kept": self._frozen.kept,
        }
        if self.request.recipe.epochs:
            dtype = device.number_type(self._frozen.device)
            facts["number_type"] = str(dtype).removeprefix("torch.")
        return Chosen(model, model.calls(self.request.dev.texts, self._dev), facts)

    def refit(self, train: Split, checkpoint: Path, report: Part) -> TrainedEncoder:
        """Train on other rows to the same epoch, under the same choices.

        The threshold moves as texts that neither model has learned do: those of production where
        there are enough, else the dev rows of `none`.
        """
        request = replace(self.request, train=train, checkpoint=checkpoint)
        again = EncoderFit(self._frozen, request, report, first=self)
        choice = self._choice
        trained = {"trained": again._training.tuned.head}
        candidates = trained if choice.head == "trained" else again._candidates
        rule = choice.scope
        if len(request.unseen) >= out_of_scope.MANY:
            before = self._scope_scores(request.unseen, self._candidates, choice)
            after = again._scope_scores(request.unseen, candidates, choice)
            rule = out_of_scope.carried_by_shift(rule, before, after)
        elif len(choice.outside):
            dev = request.dev
            none = [text for text, i in zip(dev.texts, dev.intents, strict=True) if i == NONE]
            after = again._scope_scores(none, candidates, choice)
            rule = out_of_scope.carried(rule, choice.outside, after)
        return again._settled(candidates, choice, rule)

    def _scope_scores(
        self, texts: Sequence[str], candidates: Candidates, choice: HeadChoice
    ) -> Tensor:
        """Scores of texts under the choice, float32 (n,)."""
        embedding = self._adapted(self._frozen.states(texts)).embedding  # (n, width)
        head = heads.calibrated(candidates[choice.head], choice.temperature, choice.shift)
        return out_of_scope.score(head.logits(embedding), self.request.labels, choice.scope.score)

    @cached_property
    def _dev(self) -> AdaptedStates:
        return self._adapted(self._frozen.states(self.request.dev.texts))

    @cached_property
    def _choice(self) -> HeadChoice:
        request = self.request
        return heads.choose(request.labels, self._candidates, request.dev, self._dev.embedding)

    def _heads_of_the_base(self) -> Heads:
        """Heads fitted on the frozen base."""
        head = self._fit_head(self._states.embedding)
        if self._tags is None:
            return head, None
        budget, rows = _MAX_TAG_TOKENS, []
        generator = torch.Generator().manual_seed(self.request.seed)
        for row in torch.randperm(len(self._tags), generator=generator).tolist():
            if budget > 0 and len(self._tags[row].tags):
                rows.append(row)
                budget -= len(self._states.hidden[row])
        frozen = self._frozen
        upper = frozen.encoder.upper(frozen.depth)
        hidden = [self._states.hidden[i] for i in rows]
        states = run_upper(upper, frozen.base.width, hidden, tokens=True)
        several = any(row.places.any() for row in self._tags)  # units in one token
        width = frozen.base.width * (PLACES if several else 1)
        read = [  # (units, width) each
            slots.features(tokens[self._tags[i].tokens], self._tags[i].places, width)
            for i, tokens in zip(rows, states.tokens, strict=True)
        ]
        tags = torch.cat([self._tags[i].tags for i in rows])  # (units of rows,)
        return head, logistic.fit(torch.cat(read), tags, 1 + 2 * len(self._slots), c=0.1)

    def _fit_head(self, embedding: Tensor) -> Linear:
        """Logistic regression over the training rows' embeddings (n, width)."""
        weights = self.request.train.weights
        return logistic.fit(embedding, self._y, len(self.request.labels), weights=weights)

    def _train(self, report: Part) -> tuning.Training:
        """LoRA from the base."""
        request, frozen = self.request, self._frozen
        if not request.recipe.epochs:
            tuned = tuning.initial(
                frozen.encoder, frozen.depth, request.recipe, self._start, request.seed
            )
            return tuning.Training(tuned, [], 0)
        rows = tuning.TrainingRows(
            hidden=self._states.hidden,
            labels=self._y,
            weights=request.train.weights,
            tags=self._tags,
        )
        dtype = device.number_type(frozen.device)

        def watch(end: tuning.EpochEnd) -> tuning.EpochResult:
            result = self._evaluated(end)
            report(end.epoch / request.recipe.epochs, "epoch done", **result.line)
            return result

        return tuning.tune(
            frozen.encoder,
            frozen.depth,
            request.recipe,
            rows,
            self._start,
            seed=request.seed,
            dtype=dtype,
            checkpoint=request.checkpoint,
            fingerprint=self._fingerprint(dtype),
            watch=watch,
            report=report,
            epochs=None if self._first is None else self._first.epoch,
        )

    def _evaluated(self, end: tuning.EpochEnd) -> tuning.EpochResult:
        """The epoch's line of the curve, with the accuracy on dev where rows of it are unseen."""
        line: CurveLine = {"epoch": end.epoch, "loss": round(end.loss, 4)}
        dev = self.request.dev
        if self._first is not None or not dev.texts:
            return tuning.EpochResult(line)
        states = self._frozen.states(dev.texts[:_CURVE_ROWS])
        embedding = self._adapted(states, end.tuned).embedding  # (m, width)
        numbers = end.tuned.head.logits(embedding).argmax(1).tolist()
        pairs = zip(numbers, dev.intents, strict=False)
        right = torch.tensor([self.request.labels[n] == intent for n, intent in pairs])  # (m,)
        line["dev_accuracy"] = round(float(right.float().mean()), 4)
        return tuning.EpochResult(line, right)

    def _adapted(self, states: States, tuned: Tuned | None = None) -> AdaptedStates:
        """Embeddings of texts by what was trained, and token states where there are arguments."""
        tuned = tuned or self._training.tuned
        recipe, frozen = self.request.recipe, self._frozen
        if not recipe.epochs and tuned.tag_head is None:
            return AdaptedStates(states.embedding, [])
        upper = lora.merged(frozen.encoder, frozen.depth, tuned.factors, recipe.alpha)
        tokens = tuned.tag_head is not None
        return run_upper(upper, frozen.base.width, states.hidden, tokens=tokens)

    @cached_property
    def _candidates(self) -> Candidates:
        """Heads to choose from, by name."""
        tuned = self._training.tuned
        if not self.request.recipe.epochs:
            return {"logistic": self._start[0]}
        refit = self._fit_head(self._adapted(self._states).embedding)
        return {"mean": heads.mean(tuned.head, refit), "trained": tuned.head, "refit": refit}

    def _settled(
        self, candidates: Candidates, choice: HeadChoice, scope: out_of_scope.ScopeRule
    ) -> TrainedEncoder:
        """The trained weights as they answer under the choice."""
        request, frozen, tuned = self.request, self._frozen, self._training.tuned
        adapter = EncoderAdapter(
            base=frozen.base.name,
            base_sha256=frozen.base.sha256,
            tokenizer_sha256=frozen.base.tokenizer_sha256,
            max_length=frozen.max_length,
            depth=frozen.depth,
            rank=request.recipe.rank,
            alpha=request.recipe.alpha,
            labels=request.labels,
            arguments=request.arguments,
            slots=self._slots,
            scope=scope,
            factors=tuned.factors,
            head=heads.calibrated(candidates[choice.head], choice.temperature, choice.shift),
            tag_head=tuned.tag_head,
            tagged="segments",
            pooling=frozen.base.pooling,
        )
        return TrainedEncoder(adapter, frozen)

    def _fingerprint(self, dtype: torch.dtype) -> str:
        """A hash of everything that the training's checkpoints depend on."""
        request, frozen, train = self.request, self._frozen, self.request.train
        facts = [asdict(request.recipe), request.seed, torch.get_num_threads(), frozen.max_length]
        facts += [str(dtype), str(frozen.device)]
        facts += [
            frozen.base.sha256,
            frozen.base.tokenizer_sha256,
            frozen.depth,
            list(request.labels),
            self._slots,
        ]
        facts += [train.texts, train.intents, train.weights.tolist()]
        facts.append([dict(a) if a is not None else None for a in train.arguments])
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
