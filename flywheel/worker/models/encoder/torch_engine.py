"""The whole adapted encoder in torch: float32, LoRA merged, on the encoder's device."""

from __future__ import annotations

from torch import Tensor, nn

from flywheel.worker.device import CPU
from flywheel.worker.models.encoder import lora
from flywheel.worker.models.encoder.adapter import EncoderAdapter
from flywheel.worker.models.encoder.layers import Encoder, last_states

TORCH = "torch"


class TorchEncoder:
    """A copy of the base that owns the weights that LoRA changes, and shares all others."""

    engine = TORCH

    def __init__(self, encoder: Encoder, adapter: EncoderAdapter) -> None:
        merged = lora.merged_weights(encoder, adapter.factors, adapter.alpha)
        self._model: nn.Module = encoder.with_weights(merged)
        encoder.round_below(adapter.rounded_below, self._model)
        self._pad, self._device = encoder.base.pad, encoder.device

    def last_states(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Last states float32 (batch, length, width), on the processor."""
        ids, mask = ids.to(self._device), mask.to(self._device)
        return last_states(self._model, ids.masked_fill(~mask, self._pad), mask).to(CPU)
