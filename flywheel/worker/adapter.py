"""An adapter on disk: a standard PEFT folder, the heads, and what is known of it.

`adapter_config.json` and `adapter_model.safetensors` load with plain `peft` on the base;
`heads.safetensors`, `flywheel.json` and a model card (`README.md`) stand beside them. The id is
a hash of what the adapter answers with; who trained it when is not part of it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from flywheel.errors import FlywheelError
from flywheel.worker.encoder import Lora, Pair
from flywheel.worker.logistic import Linear
from flywheel.worker.scope import Scope

_PREFIX = "base_model.model.encoder.layer."


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """Everything an answer depends on."""

    base: str
    base_sha256: str
    max_length: int  # tokens
    depth: int  # layers below are the base's own
    rank: int
    alpha: int
    labels: Sequence[str]
    arguments: Mapping[str, Sequence[str]]  # of each intent's schema
    slots: Sequence[str]  # order of the tag head's columns
    scope: Scope
    lora: Lora
    head: Linear
    tag_head: Linear | None

    @property
    def unchanged(self) -> bool:
        """Whether LoRA adds nothing to the base."""
        return all(not b.any() for _, b in self.lora.pairs.values())


def content_id(trained: Trained) -> str:
    """`a-` and 12 hex digits, over tensors, labels, arguments and threshold."""
    told = _behaviour(trained)
    del told["base"]  # its hash says it; its name may be a path
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for name, tensor in sorted({**_peft_tensors(trained), **_head_tensors(trained)}.items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return f"a-{digest.hexdigest()[:12]}"


def write(folder: Path, trained: Trained, hub_name: str, facts: Mapping[str, Any]) -> str:
    """Write the folder, durably, and return the content id.

    Args:
        folder: made new; must not hold another adapter.
        hub_name: what `transformers` calls the base.
        facts: recipe, dataset, parent, metrics, code_version, created_at, seed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = content_id(trained)
    save_file(_peft_tensors(trained), folder / "adapter_model.safetensors", {"format": "pt"})
    save_file(_head_tensors(trained), folder / "heads.safetensors", {"format": "pt"})
    _dump(folder / "adapter_config.json", _peft_config(trained, hub_name))
    _dump(folder / "flywheel.json", {"format": 1, "id": name, **_behaviour(trained), **facts})
    (folder / "README.md").write_text(_card(name, trained, hub_name, facts), encoding="utf-8")
    for path in [*folder.iterdir(), folder]:
        _sync(path)
    return name


def load(folder: Path) -> Trained:
    """Read an adapter folder.

    Raises:
        FlywheelError: a file is missing or is not what `write` writes.
    """
    try:
        facts = json.loads((folder / "flywheel.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "adapter_model.safetensors")
        heads = load_file(folder / "heads.safetensors")
        return _trained(facts, tensors, heads)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise FlywheelError(
            f"adapter {folder.name} cannot be read: {error}",
            hint=f"{folder} is damaged; restore it from a backup",
        ) from error


def _trained(
    facts: Mapping[str, Any], tensors: Mapping[str, Tensor], heads: Mapping[str, Tensor]
) -> Trained:
    pairs: dict[tuple[int, str], Pair] = {}
    for name in tensors:
        if name.endswith(".lora_A.weight"):
            layer, _, module = (
                name.removeprefix(_PREFIX).removesuffix(".lora_A.weight").partition(".")
            )
            pair = tensors[name], tensors[name.replace("lora_A", "lora_B")]
            pairs[int(layer), module] = pair
    has_tags = "tags.weight" in heads
    return Trained(
        base=facts["base"],
        base_sha256=facts["base_sha256"],
        max_length=facts["max_length"],
        depth=facts["depth"],
        rank=facts["rank"],
        alpha=facts["alpha"],
        labels=facts["labels"],
        arguments=facts["arguments"],
        slots=facts["slots"],
        scope=Scope(facts["scope"]["score"], facts["scope"]["threshold"]),
        lora=Lora(pairs, facts["alpha"] / facts["rank"]),
        head=Linear(heads["intents.weight"], heads["intents.bias"]),
        tag_head=Linear(heads["tags.weight"], heads["tags.bias"]) if has_tags else None,
    )


def _behaviour(trained: Trained) -> dict[str, Any]:
    return {
        "base": trained.base,
        "base_sha256": trained.base_sha256,
        "max_length": trained.max_length,
        "pooling": "mean, length one",
        "depth": trained.depth,
        "rank": trained.rank,
        "alpha": trained.alpha,
        "labels": list(trained.labels),
        "arguments": {name: sorted(trained.arguments[name]) for name in sorted(trained.arguments)},
        "slots": list(trained.slots),
        "scope": asdict(trained.scope),
    }


def _peft_tensors(trained: Trained) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for (layer, module), (a, b) in trained.lora.pairs.items():
        stem = f"{_PREFIX}{layer}.{module}"
        tensors[f"{stem}.lora_A.weight"] = a.detach().to(torch.float32).contiguous()
        tensors[f"{stem}.lora_B.weight"] = b.detach().to(torch.float32).contiguous()
    return tensors


def _head_tensors(trained: Trained) -> dict[str, Tensor]:
    tensors = {"intents.weight": trained.head.weight, "intents.bias": trained.head.bias}
    if trained.tag_head is not None:
        tensors |= {"tags.weight": trained.tag_head.weight, "tags.bias": trained.tag_head.bias}
    return {name: tensor.detach().float().contiguous() for name, tensor in tensors.items()}


def _peft_config(trained: Trained, hub_name: str) -> dict[str, Any]:
    return {
        "peft_type": "LORA",
        "task_type": "FEATURE_EXTRACTION",
        "base_model_name_or_path": hub_name,
        "inference_mode": True,
        "r": trained.rank,
        "lora_alpha": trained.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "target_modules": ["query", "key", "value", "dense"],
        "layers_to_transform": sorted({layer for layer, _ in trained.lora.pairs}),
        "layers_pattern": "layer",
    }


def _card(name: str, trained: Trained, hub_name: str, facts: Mapping[str, Any]) -> str:
    metrics = facts.get("metrics", {})
    rows = "\n".join(
        f"| {key} | {metrics[key]} |" for key in sorted(metrics) if not _nested(metrics[key])
    )
    return f"""---
base_model: {hub_name}
library_name: peft
tags: [lora, intent-classification]
---
# {name}

A LoRA adapter on `{hub_name}` that turns a text into one of {len(trained.labels)} intents,
trained by flywheel {facts.get("code_version", "")} with the recipe `{facts.get("recipe", "")}`
on the dataset `{facts.get("dataset", "")}` (parent: {facts.get("parent") or "none"}).

The embedding is the mean of the last states of the real tokens, scaled to length one;
`heads.safetensors` holds the linear heads over it, `flywheel.json` the labels and the
out-of-scope rule ({trained.scope.score}, {trained.scope.threshold:.4g}).

| measured on dev | |
| --- | --- |
{rows}
"""


def _nested(value: object) -> bool:
    return isinstance(value, (list, dict))


def _dump(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
