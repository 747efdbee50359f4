"""Which linear head serves: the trained one, one refitted on the tuned embedding, or their mean.

Chosen on dev; then sharpened or flattened by one temperature, so that confidence means something.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from flywheel.worker.logistic import Linear

_MIN_DEV = 30  # rows; fewer say too little about a temperature
_TEMPERATURES = torch.logspace(-1.3, 0.5, 60)


def mean(a: Linear, b: Linear) -> Linear:
    """The head whose logits are the mean of both."""
    return Linear((a.weight + b.weight) / 2, (a.bias + b.bias) / 2)


def best(candidates: Mapping[str, Linear], x: Tensor, y: Tensor) -> str:
    """Name of the candidate that is right most often on dev; the first one on a tie.

    Args:
        x: float32 (n, width), dev embeddings whose intent is among the labels.
        y: int64 (n,).
    """
    names = list(candidates)
    if not len(y):
        return names[0]
    hits = {n: int((candidates[n].logits(x).argmax(1) == y).sum()) for n in names}
    return max(names, key=lambda name: hits[name])


def calibrated(head: Linear, x: Tensor, y: Tensor) -> tuple[Linear, float]:
    """Divide the logits by the temperature with the lowest log-loss on dev."""
    if len(y) < _MIN_DEV:
        return head, 1.0
    logits = head.logits(x)
    losses = torch.stack([functional.cross_entropy(logits / t, y) for t in _TEMPERATURES])
    t = float(_TEMPERATURES[losses.argmin()])
    return Linear(head.weight / t, head.bias / t), t
