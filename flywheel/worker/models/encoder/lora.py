"""LoRA by `peft`: put on an encoder's upper layers, merged into them, saved.

`peft` and what it imports take two seconds, so they are imported where LoRA is really at work.
Factors go by the names that `peft` saves them under (`…lora_A.weight`), as float32.

A frozen linear layer with LoRA is trained in as few passes over memory as there are. `peft` adds
the low-rank part to the frozen layer's answer, and autograd adds its gradient to the frozen
layer's: each a pass over a large array that a small product does not deserve. Here both land in
the large product's own result. What is computed is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flywheel.errors import FlywheelError
from flywheel.worker.models.encoder.layers import Encoder, Upper


def quicken(model: nn.Module) -> None:
    """Let every LoRA layer of a model by `peft` compute this way, for training."""
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
        rows = x.reshape(-1, x.shape[-1])  # (n, in)
        low = rows @ down.T  # (n, rank)
        y = rows @ weight.T if bias is None else torch.addmm(bias, rows, weight.T)  # (n, out)
        y.addmm_(low, up.T, alpha=scale)
        ctx.save_for_backward(rows, low, weight, down, up)
        ctx.scale, ctx.shape = scale, x.shape
        return y.view(*x.shape[:-1], len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, low, weight, down, up = ctx.saved_tensors
        gradient = gradient.reshape(-1, gradient.shape[-1])  # (n, out)
        low_gradient = (gradient @ up).mul_(ctx.scale)  # (n, rank)
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x = (gradient @ weight).addmm_(low_gradient, down).view(ctx.shape)
        to_down = low_gradient.T @ rows  # (rank, in)
        to_up = (gradient.T @ low).mul_(ctx.scale)  # (out, rank)
        return to_x, None, None, to_down, to_up, None


Factors = Mapping[str, Tensor]

_PREFIX = "base_model.model."
_A, _B = ".lora_A.weight", ".lora_B.weight"


def wrap(
    encoder: Encoder,
    depth: int,
    rank: int,
    alpha: int,
    seed: int,
    dtype: torch.dtype,
    targets: tuple[str, ...] = (),
) -> Upper:
    """The layers from `depth` up with LoRA that changes nothing yet, all else frozen.

    Args:
        dtype: of the frozen weights and the factors.
        targets: endings of the names of linear modules to adapt; empty for all of them.

    Raises:
        FlywheelError: it has no such modules.
    """
    chosen = [name for name in encoder.linear(depth) if not targets or name.endswith(targets)]
    if not chosen:
        raise FlywheelError(
            f"{encoder.base.name} has no linear modules called {', '.join(targets)}",
            hint="name others in the recipe's targets",
        )
    upper = encoder.upper(depth, dtype)
    with torch.random.fork_rng(devices=[]):  # peft draws the factors on the processor
        torch.manual_seed(seed)
        adapted = _adapt(upper, chosen, rank, alpha)
    quicken(adapted.model)
    return adapted


def merged(encoder: Encoder, depth: int, factors: Factors, alpha: int) -> Upper:
    """The layers from `depth` up with the factors added to their weights, in float32."""
    return _filled(encoder, depth, factors, alpha).change(lambda model: model.merge_and_unload())


def merged_weights(encoder: Encoder, factors: Factors, alpha: int) -> dict[str, Tensor]:
    """Weights W + alpha / rank · B A float32 (out, in) of every layer that the factors change.

    The same arithmetic as `peft`'s merge, without its import and without a model to put them on.
    """
    own = dict(encoder.model.named_parameters())
    weights: dict[str, Tensor] = {}
    for name, down in factors.items():
        if not name.endswith(_A):
            continue
        up = factors[name.removesuffix(_A) + _B]  # (out, rank)
        if not up.any():
            continue
        place = f"{name.removeprefix(_PREFIX).removesuffix(_A)}.weight"
        delta = (up @ down).to(encoder.device) * (alpha / len(down))
        weights[place] = own[place].detach() + delta
    return weights


def save(folder: Path, encoder: Encoder, depth: int, factors: Factors, alpha: int) -> None:
    """Write adapter_config.json and adapter_model.safetensors, for any user of `peft`."""
    model: Any = _filled(encoder, depth, factors, alpha).model
    model.save_pretrained(str(folder), save_embedding_layers=False)


def names(model: nn.Module) -> dict[str, nn.Parameter]:
    """The factors of a wrapped model, trainable, by the names they are saved under."""
    named = model.named_parameters()
    return {name.replace(".default.", "."): p for name, p in named if ".lora_" in name}


def _filled(encoder: Encoder, depth: int, factors: Factors, alpha: int) -> Upper:
    import peft

    targets = [n.removeprefix(_PREFIX).removesuffix(_A) for n in factors if n.endswith(_A)]
    rank = next(len(factors[n]) for n in factors if n.endswith(_A))
    upper = encoder.upper(depth)
    with torch.random.fork_rng(devices=[]):
        upper = _adapt(upper, targets, rank, alpha)
    peft.set_peft_model_state_dict(upper.model, dict(factors))
    upper.model.to(encoder.device).eval()
    return upper


def _adapt(upper: Upper, targets: list[str], rank: int, alpha: int) -> Upper:
    import peft

    config = peft.LoraConfig(
        task_type=peft.TaskType.FEATURE_EXTRACTION,
        r=rank,
        lora_alpha=alpha,
        lora_dropout=0.0,
        target_modules=targets,
    )

    return upper.change(
        lambda model: peft.get_peft_model(model, config, autocast_adapter_dtype=False)
    )
