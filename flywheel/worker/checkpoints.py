"""A training's state between two epochs, on disk: what it goes on from after a crash."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from flywheel.worker import stopping

Line = dict[str, Any]
"""One epoch of the learning curve, as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """After `len(curve)` epochs. The tensors are those that training goes on to change."""

    flat: Tensor  # float32 (parameters,)
    mean: Tensor  # AdamW's, of the gradient
    square: Tensor  # AdamW's, of its square
    best: Tensor  # the parameters at the end of the epoch with most dev rows right
    step: int = 0
    curve: list[Line] = field(default_factory=list)
    right: list[Tensor] = field(default_factory=list)  # bool (dev rows,) an epoch; or none at all

    def after(self, line: Line, right: Tensor | None, step: int) -> Checkpoint:
        """One epoch later."""
        all_right = self.right if right is None else [*self.right, right]
        newest = stopping.most(all_right) in (None, len(all_right) - 1)
        best = self.flat.clone() if newest else self.best
        return replace(self, best=best, step=step, curve=[*self.curve, line], right=all_right)


def save(path: Path, fingerprint: str, now: Checkpoint) -> None:
    """Write it beside, then put it in its place."""
    staged = path.with_suffix(".tmp")
    tensors = {"flat": now.flat, "mean": now.mean, "square": now.square, "best": now.best}
    if now.right:
        tensors["right"] = torch.stack(now.right)
    facts = {"fingerprint": fingerprint, "curve": json.dumps(now.curve), "step": str(now.step)}
    save_file(tensors, staged, metadata=facts)
    staged.replace(path)


def load(path: Path, fingerprint: str) -> Checkpoint | None:
    """The checkpoint of this fingerprint; None where there is no such one that can be read."""
    try:
        with safe_open(path, "pt") as file:
            facts = file.metadata() or {}
            if facts.get("fingerprint") != fingerprint:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    right = list(tensors.pop("right", torch.zeros(0)))
    curve: list[Line] = json.loads(facts["curve"])
    return Checkpoint(**tensors, step=int(facts["step"]), curve=curve, right=right)
