"""A training's state between two epochs, on disk: what it goes on from after a crash.

A training that was killed ends in the same weights as one that was not.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from flywheel import files
from flywheel.worker.device import CPU
from flywheel.worker.learning_curve import CurveLine, most


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """After `len(curve)` epochs. The tensors are those that training goes on to change."""

    flat: Tensor  # float32 (parameters,), on the device that trains
    mean: Tensor  # float32 (parameters,): AdamW's mean of the gradient
    square: Tensor  # float32 (parameters,): AdamW's mean of its square
    best: Tensor  # float32 (parameters,) at the end of the epoch with most dev rows right
    step: int = 0
    curve: list[CurveLine] = field(default_factory=list)
    right: list[Tensor] = field(default_factory=list)  # bool (dev rows,) an epoch; or none at all

    def after(self, line: CurveLine, right: Tensor | None, step: int) -> Checkpoint:
        """One epoch later."""
        all_right = self.right if right is None else [*self.right, right]
        newest = most(all_right) in (None, len(all_right) - 1)
        best = self.flat.clone() if newest else self.best
        return replace(self, best=best, step=step, curve=[*self.curve, line], right=all_right)


def save(path: Path, fingerprint: str, state: Checkpoint) -> None:
    """Write the checkpoint atomically; it is on disk when this returns."""
    tensors = {"flat": state.flat, "mean": state.mean, "square": state.square, "best": state.best}
    if state.right:
        tensors["right"] = torch.stack(state.right)
    facts = {"fingerprint": fingerprint, "curve": json.dumps(state.curve), "step": str(state.step)}
    with files.replacing(path) as staged:
        save_file(tensors, staged, metadata=facts)


def load(path: Path, fingerprint: str, device: torch.device = CPU) -> Checkpoint | None:
    """The checkpoint of this fingerprint; None where there is no such one that can be read."""
    try:
        with safe_open(path, "pt", device=str(device)) as file:
            facts = file.metadata() or {}
            if facts.get("fingerprint") != fingerprint:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    right = list(tensors.pop("right", torch.zeros(0)).cpu())
    curve: list[CurveLine] = json.loads(facts["curve"])
    return Checkpoint(**tensors, step=int(facts["step"]), curve=curve, right=right)
