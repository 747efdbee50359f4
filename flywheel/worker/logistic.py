"""Multinomial logistic regression, fitted by L-BFGS: a few seconds for thousands of rows.

Agrees with scikit-learn's `LogisticRegression(C=…)`. The optimiser is written out because
`torch.optim` imports a compiler (a second) at its first step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

C = 10.0
"""Inverse strength of the L2 penalty; MiniLM embeddings of length one want a weak one."""

_MEMORY = 10


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear classifier: logits = x @ weight.T + bias."""

    weight: Tensor  # float32 (classes, width)
    bias: Tensor  # float32 (classes,)

    def logits(self, x: Tensor) -> Tensor:
        """Of x float32 (n, width): (n, classes)."""
        return x @ self.weight.T + self.bias


def fit(
    x: Tensor,
    y: Tensor,
    classes: int,
    *,
    weights: Tensor | None = None,
    c: float = C,
    steps: int = 100,
    start: Linear | None = None,
) -> Linear:
    """Minimise c · Σ weight · cross-entropy + ½‖W‖²; the bias is not penalised.

    Args:
        x: float32 (n, width).
        y: int64 (n,), in 0..classes-1.
        weights: float32 (n,); None for ones.
        start: where to start from; zeros when None. The minimum is one, so only speed differs.
    """
    n, width = x.shape
    start = start or Linear(torch.zeros(classes, width), torch.zeros(classes))
    weights = torch.ones(n) if weights is None else weights
    scale = 1 / (c * float(weights.sum()))
    rows = torch.arange(n)

    def objective(flat: Tensor) -> tuple[float, Tensor]:
        weight, bias = flat[:-classes].view(classes, width), flat[-classes:]
        log_p = torch.addmm(bias, x, weight.T).log_softmax(1)  # (n, classes)
        loss = -(log_p[rows, y] * weights).sum() * scale * c + 0.5 * scale * weight.square().sum()
        residual = log_p.exp_()  # (n, classes)
        residual[rows, y] -= 1
        residual *= (weights * scale * c)[:, None]
        gradient = torch.cat([(residual.T @ x + scale * weight).flatten(), residual.sum(0)])
        return float(loss), gradient

    flat = _minimise(objective, torch.cat([start.weight.flatten(), start.bias]), steps)
    return Linear(flat[:-classes].view(classes, width).clone(), flat[-classes:].clone())


def _minimise(
    objective: Callable[[Tensor], tuple[float, Tensor]], x: Tensor, steps: int, tol: float = 1e-5
) -> Tensor:
    """L-BFGS with a backtracking line search, for a smooth convex objective.

    It ends where a step no longer lowers the value: float32 has no room below, and looking for it
    would cost twenty times what came before.
    """
    value, gradient = objective(x)
    first = float(gradient.norm())
    moves: list[tuple[Tensor, Tensor, float]] = []
    for _ in range(steps):
        direction = -_inverse_hessian(gradient, moves)
        slope = float(direction @ gradient)
        step = 1.0 if moves else min(1.0, 1 / max(first, 1e-12))
        new, at, after = _search(objective, x, value, direction, slope, step)
        if new is None or at is None or after >= value:
            break
        move, change = new - x, at - gradient
        curvature = float(move @ change)
        if curvature > 1e-12:
            moves = [*moves[1 - _MEMORY :], (move, change, 1 / curvature)]
        x, value, gradient = new, after, at
        if float(gradient.norm()) <= tol * first:
            break
    return x


def _search(
    objective: Callable[[Tensor], tuple[float, Tensor]],
    x: Tensor,
    value: float,
    direction: Tensor,
    slope: float,
    step: float,
) -> tuple[Tensor | None, Tensor | None, float]:
    for _ in range(20):
        new = x + step * direction
        after, gradient = objective(new)
        if after <= value + 1e-4 * step * slope:
            return new, gradient, after
        step *= 0.5
    return None, None, value


def _inverse_hessian(gradient: Tensor, moves: list[tuple[Tensor, Tensor, float]]) -> Tensor:
    q = gradient.clone()
    weights = []
    for move, change, rho in reversed(moves):
        weights.append(rho * float(move @ q))
        q -= weights[-1] * change
    if moves:
        move, change, rho = moves[-1]
        q /= rho * float(change @ change)
    for (move, change, rho), weight in zip(moves, reversed(weights), strict=True):
        q += (weight - rho * float(change @ q)) * move
    return q
