"""LoRA by `peft`: put on an encoder's upper layers, merged into them, saved.

`peft` and what it imports take two seconds, so they are imported where LoRA is really at work.
Factors go by the names that `peft` saves them under (`…lora_A.weight`), as float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flywheel.errors import FlywheelError
from flywheel.worker.encoder import Encoder, Upper
from flywheel.worker.lowrank import quicken

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
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        adapted = _adapt(upper, chosen, rank, alpha)
    quicken(adapted.model)
    return adapted


def merged(encoder: Encoder, depth: int, factors: Factors, alpha: int) -> Upper:
    """The layers from `depth` up with the factors added to their weights, in float32."""
    return _filled(encoder, depth, factors, alpha).change(lambda model: model.merge_and_unload())


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
    with torch.random.fork_rng():
        upper = _adapt(upper, targets, rank, alpha)
    peft.set_peft_model_state_dict(upper.model, dict(factors))
    upper.model.eval()
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
