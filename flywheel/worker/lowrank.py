"""A frozen linear layer with LoRA, trained in as few passes over memory as there are.

`peft` adds the low-rank part to the frozen layer's answer, and autograd adds its gradient to the
frozen layer's: each a pass over a large array that a small product does not deserve. Here both
land in the large product's own result. What is computed is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


def quicken(model: nn.Module) -> None:
    """Let every LoRA layer of a model by `peft` compute this way; for training on a processor."""
    from peft.tuners.lora import Linear

    for layer in model.modules():
        if isinstance(layer, Linear) and isinstance(layer.base_layer, nn.Linear):
            layer.forward = partial(_forward, layer)


def _forward(layer: Any, x: Tensor) -> Tensor:
    frozen, name = layer.base_layer, layer.active_adapters[0]
    down, up = layer.lora_A[name].weight, layer.lora_B[name].weight
    adapted: Callable[..., Tensor] = _Adapted.apply
    return adapted(x, frozen.weight, frozen.bias, down, up, layer.scaling[name])


class _Adapted(torch.autograd.Function):
    """y = x Wᵀ + b + s (x Aᵀ) Bᵀ, with gradients for x, A and B alone.

    x is (…, in), W (out, in), b (out) or None, A (rank, in), B (out, rank), s a number.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        down: Tensor,
        up: Tensor,
        scale: float,
    ) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        low = rows @ down.T
        made = rows @ weight.T if bias is None else torch.addmm(bias, rows, weight.T)
        made.addmm_(low, up.T, alpha=scale)
        ctx.save_for_backward(rows, low, weight, down, up)
        ctx.scale, ctx.shape = scale, x.shape
        return made.view(*x.shape[:-1], len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, low, weight, down, up = ctx.saved_tensors
        gradient = gradient.reshape(-1, gradient.shape[-1])
        low_gradient = (gradient @ up).mul_(ctx.scale)
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x = (gradient @ weight).addmm_(low_gradient, down).view(ctx.shape)
        to_down = low_gradient.T @ rows
        to_up = (gradient.T @ low).mul_(ctx.scale)
        return to_x, None, None, to_down, to_up, None
