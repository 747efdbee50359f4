"""The BERT encoder as plain tensor functions, with LoRA on chosen layers.

Written out because importing `transformers` and `peft` costs three seconds in every worker, and
because eager attention trains twice as fast as the fused one in bf16 on a processor. The numbers
agree with `transformers`, and `peft` loads what is trained here; tests hold both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn import functional

from flywheel.worker.base import Base

MODULES = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)
"""The linear modules of a layer that LoRA adapts, by their names in the base."""

Pair = tuple[Tensor, Tensor]
"""LoRA factors of one module: A (rank, in) and B (out, rank)."""


@dataclass(frozen=True, slots=True)
class Lora:
    """LoRA factors by (layer, module), and what their product is multiplied with."""

    pairs: Mapping[tuple[int, str], Pair]
    scale: float  # alpha / rank


class Encoder:
    """A frozen base. Not thread-safe; a worker has one."""

    def __init__(self, base: Base, weights: Mapping[str, Tensor]) -> None:
        self.base = base
        self.weights = dict(weights)
        self.heads = int(base.config["num_attention_heads"])
        self.eps = float(base.config["layer_norm_eps"])

    @classmethod
    def load(cls, base: Base) -> Encoder:
        """Read the weights as float32."""
        with safe_open(base.folder / "model.safetensors", "pt") as file:
            names = [n for n in file.keys() if "position_ids" not in n]  # noqa: SIM118
            weights = {n.removeprefix("bert."): file.get_tensor(n).float() for n in names}
        return cls(base, weights)

    def to(self, dtype: torch.dtype) -> Encoder:
        """The same encoder with weights of another type."""
        return Encoder(self.base, {name: w.to(dtype) for name, w in self.weights.items()})

    def merged(self, lora: Lora) -> Encoder:
        """The same encoder with the LoRA products added to its weights."""
        weights = dict(self.weights)
        for (layer, module), (a, b) in lora.pairs.items():
            name = f"encoder.layer.{layer}.{module}.weight"
            weights[name] = weights[name] + lora.scale * (b.float() @ a.float())
        return Encoder(self.base, weights)

    def embed(self, ids: Tensor) -> Tensor:
        """States below the first layer.

        Args:
            ids: int64 (batch, length).

        Returns:
            (batch, length, width)
        """
        w = self.weights
        positions = w["embeddings.position_embeddings.weight"][: ids.shape[1]]
        kind = w["embeddings.token_type_embeddings.weight"][0]
        x = w["embeddings.word_embeddings.weight"][ids] + kind + positions
        return self._norm(x, "embeddings.LayerNorm")

    def run(
        self, x: Tensor, mask: Tensor, layers: Sequence[int], lora: Lora | None = None
    ) -> Tensor:
        """Pass states through some layers.

        Args:
            x: (batch, length, width), states below the first of `layers`.
            mask: bool (batch, length), False where there is padding.
            layers: numbers of the layers, lowest first.
            lora: factors for some of them; gradients flow into these alone.
        """
        bias = torch.zeros(mask.shape, dtype=x.dtype).masked_fill_(~mask, -1e4)[:, None, None, :]
        for layer in layers:
            x = self._layer(x, bias, layer, lora)
        return x

    def _layer(self, x: Tensor, bias: Tensor, layer: int, lora: Lora | None) -> Tensor:
        batch, length, width = x.shape
        shape = (batch, length, self.heads, width // self.heads)

        def linear(module: str, y: Tensor) -> Tensor:
            return self._linear(y, layer, module, lora)

        q, k, v = (linear(m, x).view(shape).transpose(1, 2) for m in MODULES[:3])
        scores = torch.matmul(q * (1 / math.sqrt(shape[3])), k.transpose(2, 3)) + bias
        mixed = torch.matmul(scores.softmax(-1), v).transpose(1, 2).reshape(batch, length, width)
        prefix = f"encoder.layer.{layer}"
        x = self._norm(
            x + linear("attention.output.dense", mixed), f"{prefix}.attention.output.LayerNorm"
        )
        inner = functional.gelu(linear("intermediate.dense", x))
        return self._norm(x + linear("output.dense", inner), f"{prefix}.output.LayerNorm")

    def _linear(self, x: Tensor, layer: int, module: str, lora: Lora | None) -> Tensor:
        name = f"encoder.layer.{layer}.{module}"
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        y = functional.linear(x, weight, bias)
        pair = lora.pairs.get((layer, module)) if lora is not None else None
        if lora is None or pair is None:
            return y
        return torch.add(
            y, functional.linear(functional.linear(x, pair[0]), pair[1]), alpha=lora.scale
        )

    def _norm(self, x: Tensor, name: str) -> Tensor:
        w = self.weights
        return functional.layer_norm(
            x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], self.eps
        )


def pool(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of the states of real tokens, of length one.

    Args:
        x: (batch, length, width).
        mask: bool (batch, length).

    Returns:
        float32 (batch, width)
    """
    weight = mask.unsqueeze(-1).float()
    mean = (x.float() * weight).sum(1) / weight.sum(1).clamp(min=1)
    return functional.normalize(mean, dim=-1)


def has_bf16() -> bool:
    """Whether this processor multiplies bf16 matrices in hardware."""
    try:
        with Path("/proc/cpuinfo").open(encoding="ascii", errors="replace") as file:
            flags = next((line for line in file if line.startswith("flags")), "").split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
