"""How long one answer takes: one text at a time, the adapters in turn, nothing from a cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import torch

from flywheel.worker import base as bases
from flywheel.worker import lora, scope, slots
from flywheel.worker.adapter import Trained
from flywheel.worker.encoder import pool
from flywheel.worker.trunk import Trunk, padded_ids

_WARM_UP = 3  # answers of each adapter that are not counted


def interleaved(
    adapters: Mapping[str, tuple[Trained, Trunk]], texts: Sequence[str]
) -> dict[str, list[float]]:
    """Return milliseconds of each answer by adapter, but for the first few.

    Args:
        adapters: by id, with the trunk of their base; its cache is not read.
        texts: each is asked of every adapter before the next one.
    """
    answers = {name: _answering(*each) for name, each in adapters.items()}
    taken: dict[str, list[float]] = {name: [] for name in adapters}
    for number, text in enumerate(texts):
        for name, answer in answers.items():
            start = time.perf_counter()
            answer(text)
            if number >= _WARM_UP:
                taken[name].append(round(1000 * (time.perf_counter() - start), 3))
    return taken


def _answering(trained: Trained, trunk: Trunk) -> Callable[[str], None]:
    """All that an answer takes, from the text to intent and arguments."""
    whole = trunk.encoder.upper(0)
    if not trained.unchanged:
        whole = lora.merged(trunk.encoder, 0, trained.factors, trained.alpha)

    @torch.inference_mode()
    def answer(text: str) -> None:
        encodings = bases.encode(trunk.tokenizer, [text])
        ids, mask = padded_ids(encodings)
        states = whole.run(ids, mask)
        logits = trained.head.logits(pool(states, mask))
        found = scope.answer(logits, trained.labels, trained.scope)
        if trained.tag_head is not None:
            tags = trained.tag_head.logits(states[0, : len(encodings[0].ids)])
            wanted = trained.arguments.get(found.intents[0], ())
            slots.read(encodings[0], text, tags, trained.slots, wanted)

    return answer
