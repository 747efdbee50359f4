"""Which linear head serves: the trained one, one refitted on the tuned embedding, or their mean.

Chosen on dev; then calibrated there, by one temperature, so that confidence means something, and
by a bias for each intent, since feedback is skewed and wrong in ways that differ by intent.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from flywheel.worker.logistic import Linear

_MIN_DEV = 30  # rows; fewer say too little about a temperature
_SHIFT_STEPS = 200
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


def calibration(logits: Tensor, y: Tensor) -> tuple[float, Tensor]:
    """Bias-corrected temperature scaling on dev: the temperature, and the bias (classes,).

    The logits are divided by the temperature with the lowest log-loss; then each intent's bias
    moves towards the lowest log-loss, held near zero by a standard normal prior. Ten dev rows an
    intent suffice: one number an intent is fitted, not a direction.

    Source: Alexandari et al. 2020, arXiv 1901.06852.
    """
    if len(y) < _MIN_DEV:
        return 1.0, torch.zeros(logits.shape[1])
    losses = torch.stack([functional.cross_entropy(logits / t, y) for t in _TEMPERATURES])
    t = float(_TEMPERATURES[losses.argmin()])
    return t, _shift(logits / t, y)


def calibrated(head: Linear, temperature: float, shift: Tensor) -> Linear:
    """The head whose logits are divided by the temperature, then shifted."""
    return Linear(head.weight / temperature, head.bias / temperature + shift)


def _shift(logits: Tensor, y: Tensor) -> Tensor:
    """The bias (classes,) of the lowest penalised log-loss; zero for intents without dev rows."""
    counts = torch.bincount(y, minlength=logits.shape[1]).float()
    shift = torch.zeros(logits.shape[1])
    for _ in range(_SHIFT_STEPS):
        p = (logits + shift).softmax(1)
        slope = p.sum(0) - counts + shift
        step = slope / ((p * (1 - p)).sum(0) + 1)
        shift = torch.where(counts > 0, shift - step / 2, shift)  # half a Newton step never swings
    return shift
