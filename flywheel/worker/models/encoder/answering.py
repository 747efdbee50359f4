"""From states to answers: heads, out-of-scope rule and spans, for states however computed.

The jobs compute states over the cache of frozen states, a server by the whole adapted encoder;
what follows from them is one function.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from tokenizers import Encoding, Tokenizer
from torch import Tensor

from flywheel.worker.models import base as bases
from flywheel.worker.models.encoder import out_of_scope, slots
from flywheel.worker.models.encoder.adapter import EncoderAdapter
from flywheel.worker.models.encoder.frozen_states import AdaptedStates
from flywheel.worker.models.encoder.layers import pool
from flywheel.worker.models.protocol import Calls

_BATCH_ROWS = 32
"""Texts computed together; more give no more texts a second on a processor."""


def calls(
    adapter: EncoderAdapter,
    texts: Sequence[str],
    states: AdaptedStates,
    encodings: Sequence[Encoding],
) -> Calls:
    """The answers that follow from the texts' adapted states.

    Args:
        encodings: the texts' tokens; read only where the adapter spells arguments.
    """
    logits = adapter.head.logits(states.embedding)  # (n, labels)
    scoped = out_of_scope.answer(logits, adapter.labels, adapter.scope)
    arguments: Sequence[Mapping[str, str]] = [{}] * len(texts)
    if adapter.tag_head is not None and texts:
        spelled = zip(encodings, texts, states.tokens, scoped.intents, strict=True)
        arguments = [_arguments(adapter, *row) for row in spelled]
    return Calls(scoped.intents, arguments, scoped.confidence, scoped.margin)


def _arguments(
    adapter: EncoderAdapter, encoding: Encoding, text: str, tokens: Tensor, intent: str
) -> Mapping[str, str]:
    """Arguments of a call of the intent, from a text's token states (length, width)."""
    assert adapter.tag_head is not None
    by_words = adapter.tagged == "words"
    units = slots.words(encoding) if by_words else slots.units(encoding, text)
    logits = slots.logits(adapter.tag_head, tokens, units)  # (units, 1 + 2 · slots)
    return slots.read(units, text, logits, adapter.slots, adapter.arguments.get(intent, ()))


class WholeEncoder(Protocol):
    """An encoder with LoRA merged, from token ids to its last states."""

    @property
    def engine(self) -> str:
        """What computes: `torch` or `onnx`."""

    def last_states(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Last states float32 (batch, length, width), on the processor.

        Args:
            ids: int64 (batch, length).
            mask: bool (batch, length), False where there is padding.
        """


class EncoderAnswerer:
    """Answers by the whole encoder, without a cache; several threads may ask at a time."""

    def __init__(self, adapter: EncoderAdapter, tokenizer: Tokenizer, whole: WholeEncoder) -> None:
        self._adapter, self._tokenizer, self._whole = adapter, tokenizer, whole

    @property
    def engine(self) -> str:
        """What computes."""
        return self._whole.engine

    @property
    def rule(self) -> Mapping[str, Any]:
        """What its answers follow from beside the weights, read from what is in use."""
        scope, truncation = self._adapter.scope, self._tokenizer.truncation
        return {
            "labels": list(self._adapter.labels),
            "max_length": int(truncation["max_length"]) if truncation else 0,
            "scope": {"score": scope.score, "threshold": scope.threshold},
        }

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> Calls:
        """Answer each text; texts of similar length are computed together."""
        encodings = bases.encode(self._tokenizer, texts)
        answered = calls(self._adapter, texts, self._states(encodings), encodings)
        return replace(answered, tokens=[len(encoding.ids) for encoding in encodings])

    @torch.inference_mode()
    def forward(self, texts: Sequence[str]) -> None:
        """Compute the texts' states in one batch."""
        encodings = bases.encode(self._tokenizer, texts)
        self._whole.last_states(*stacked([encoding.ids for encoding in encodings]))

    def _states(self, encodings: Sequence[Encoding]) -> AdaptedStates:
        """Embedding of each text, and its token states where there are arguments to find."""
        tagged = self._adapter.tag_head is not None
        embedding = torch.zeros(len(encodings), self._adapter.head.weight.shape[1])
        tokens: list[Tensor] = [torch.zeros(0)] * len(encodings) if tagged else []
        order = sorted(range(len(encodings)), key=lambda row: len(encodings[row].ids))
        for start in range(0, len(order), _BATCH_ROWS):
            rows = order[start : start + _BATCH_ROWS]
            ids, mask = stacked([encodings[row].ids for row in rows])
            top = self._whole.last_states(ids, mask)  # (rows, length, width)
            embedding[rows] = pool(top, mask, self._adapter.pooling)
            if tagged:
                for row, states in zip(rows, top, strict=True):
                    tokens[row] = states[: len(encodings[row].ids)]
        return AdaptedStates(embedding, tokens)


def stacked(ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Token ids int64 and mask bool, both (batch, length of the longest row)."""
    longest = max(map(len, ids))
    padded = torch.tensor([[*row, *[0] * (longest - len(row))] for row in ids])
    lengths = torch.tensor([len(row) for row in ids])
    return padded, torch.arange(longest)[None, :] < lengths[:, None]
