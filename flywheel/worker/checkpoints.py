"""A training's state between two epochs, on disk: what it goes on from after a crash."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from flywheel import files

# Which epoch is taken, and when no further one is worth its time; by the dev rows it gets right.
#
# The rate falls to zero over a recipe's epochs, so the last one is the one to expect. Two epochs
# differ in a few dev rows, and the best of several is best by luck as well: an earlier epoch is
# taken only where it is clearly better than the last on the rows that they answer differently.
#
# Source: McNemar 1947.

_CLEARLY = 1.64  # standard errors: one in twenty by chance
_PATIENCE = 2  # epochs in a row that are clearly worse than the best


def most(right: Sequence[Tensor]) -> int | None:
    """The epoch with most rows right, the later one on a tie; None without any.

    Args:
        right: bool (n,) for each epoch, of the same rows.
    """
    if not right:
        return None
    hits = [int(each.sum()) for each in right]
    return max(range(len(hits)), key=lambda epoch: (hits[epoch], epoch))


def taken(right: Sequence[Tensor]) -> int | None:
    """The epoch whose weights are taken: the last, or an earlier one that is clearly better."""
    best = most(right)
    if best is None or clearly_better(right[best], right[-1]):
        return best
    return len(right) - 1


def stops(right: Sequence[Tensor]) -> bool:
    """Whether training has become clearly worse, and stayed so."""
    best = most(right)
    if best is None or len(right) - 1 - best < _PATIENCE:
        return False
    return all(clearly_better(right[best], each) for each in right[-_PATIENCE:])


def clearly_better(one: Tensor, other: Tensor) -> bool:
    """Whether one is right on more of the rows than the other, beyond chance.

    Args:
        one, other: bool (n,).
    """
    gained, lost = int((one & ~other).sum()), int((other & ~one).sum())
    return gained - lost > _CLEARLY * math.sqrt(gained + lost)


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
        newest = most(all_right) in (None, len(all_right) - 1)
        best = self.flat.clone() if newest else self.best
        return replace(self, best=best, step=step, curve=[*self.curve, line], right=all_right)


def save(path: Path, fingerprint: str, now: Checkpoint) -> None:
    """Write it, whole or not at all; it is on disk when this returns."""
    tensors = {"flat": now.flat, "mean": now.mean, "square": now.square, "best": now.best}
    if now.right:
        tensors["right"] = torch.stack(now.right)
    facts = {"fingerprint": fingerprint, "curve": json.dumps(now.curve), "step": str(now.step)}
    with files.replacing(path) as staged:
        save_file(tensors, staged, metadata=facts)


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
