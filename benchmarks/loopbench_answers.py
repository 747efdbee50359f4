"""What adapters answer, and where texts lie on the frozen base: in this process, over one cache.

The daemon is not asked: production answers outside it. States of the frozen base are computed once
for each text and kept in a folder that every run of the benchmark shares.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from loopbench_streams import Answer
from torch import Tensor

from flywheel.records import NONE
from flywheel.worker.models import base as bases
from flywheel.worker.models.encoder import adapter as adapters
from flywheel.worker.models.encoder.frozen_states import FrozenStates
from flywheel.worker.models.encoder.model import TrainedEncoder
from flywheel.worker.recipes import LAYERS

BASE = "bundled:all-minilm-l6-v2"
MAX_LENGTH = 64


class Answers:
    """Adapters and texts, remembered; an adapter's folder name is its content.

    Attributes:
        cache: folder of the frozen states.
    """

    def __init__(self, cache: Path, threads: int = 1) -> None:
        torch.set_num_threads(threads)
        base = bases.load(BASE)
        self.cache = cache
        self._frozen = FrozenStates(base, base.depth - LAYERS, MAX_LENGTH, cache)
        self._models: dict[str, TrainedEncoder] = {}
        self._known: dict[str, dict[str, Answer]] = {}

    def embeddings(self, texts: Sequence[str]) -> Tensor:
        """Mean-pooled states of the frozen base: float32 (n, width), of length one."""
        return self._frozen.states(texts).embedding

    def of(self, folder: Path, texts: Iterable[str]) -> Mapping[str, Answer]:
        """The adapter's answer to each text, and to all that it was asked before."""
        known = self._known.setdefault(folder.name, {})
        missing = sorted(set(texts) - set(known))
        if missing:
            calls = self._model(folder).answer(missing)
            for text, intent, sure in zip(
                missing, calls.intents, calls.confidence.tolist(), strict=True
            ):
                known[text] = Answer(intent, round(sure, 6))
        return known

    def intents(self, folder: Path, texts: Iterable[str]) -> Mapping[str, str]:
        """The intents alone."""
        return {text: answer.intent for text, answer in self.of(folder, texts).items()}

    def best_wrong(self, folder: Path, rows: Sequence[tuple[str, str]]) -> list[str]:
        """For each (text, right intent) the likeliest in-scope intent that is not the right one."""
        if not rows:
            return []
        model = self._model(folder)
        labels = list(model.labels)
        logits = model.adapter.head.logits(model.adapted([text for text, _ in rows]).embedding)
        for line, (_, intent) in zip(logits, rows, strict=True):
            for excluded in {intent, NONE} & set(labels):
                line[labels.index(excluded)] = float("-inf")
        return [labels[number] for number in logits.argmax(1).tolist()]

    def lend_cache(self, state_dir: Path) -> None:
        """Let a daemon start with the states that are known: it has to read no text twice."""
        if self.cache.exists():
            shutil.copytree(self.cache, state_dir / "cache", copy_function=os.link)

    def forget(self) -> None:
        """Forget adapters; states stay."""
        self._models.clear()
        self._known.clear()

    def _model(self, folder: Path) -> TrainedEncoder:
        if folder.name not in self._models:
            trained = adapters.load(folder)
            frozen = self._frozen
            if (trained.depth, trained.max_length) != (frozen.depth, frozen.max_length):
                frozen = FrozenStates(
                    bases.load(trained.base), trained.depth, trained.max_length, self.cache
                )
            self._models[folder.name] = TrainedEncoder(trained, frozen)
        return self._models[folder.name]


def neighbours(rows: Sequence[tuple[str, str]], embeddings: Tensor) -> dict[str, str]:
    """The intent that each intent is most like: the nearest mean embedding; `none` left out.

    Args:
        rows: (text, intent).
        embeddings: float32 (n, width), of the rows.
    """
    names = sorted({intent for _, intent in rows} - {NONE})
    means = torch.stack(
        [
            embeddings[[n for n, (_, intent) in enumerate(rows) if intent == name]].mean(0)
            for name in names
        ]
    )
    means = torch.nn.functional.normalize(means, dim=1)
    near = means @ means.T - 2 * torch.eye(len(names))  # (intents, intents), never itself
    return {name: names[int(near[row].argmax())] for row, name in enumerate(names)}
