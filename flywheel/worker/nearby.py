"""What lies near each row in the embedding: which labels, and which rows say the same.

The embeddings are the frozen base's, of length one, so a product is a cosine.
"""

from __future__ import annotations

import torch
from torch import Tensor

_NEIGHBOURS = 10
_CHUNK = 1024


def agreement(x: Tensor, y: Tensor, asked: Tensor) -> Tensor:
    """Share of the nearest rows that carry a row's label, float32 (n,), 0..1.

    Neighbours are rows that are not asked about, so that samples do not vouch for one another;
    1 where there are none.

    Args:
        x: float32 (n, width), rows of length one.
        y: int64 (n,), labels.
        asked: bool (n,), rows that are no neighbours.
    """
    found = torch.ones(len(x))
    known = (~asked).nonzero()[:, 0]
    count = min(_NEIGHBOURS + 1, len(known))  # itself may be among them
    if count < 2:
        return found
    for start in range(0, len(x), _CHUNK):
        rows = torch.arange(start, min(start + _CHUNK, len(x)))
        near = known[(x[rows] @ x[known].T).topk(count, 1).indices]
        other = near != rows[:, None]
        same = (y[near] == y[rows][:, None]) & other
        found[rows] = same.sum(1).float() / other.sum(1).clamp(min=1)
    return found


def alike(
    x: Tensor, y: Tensor, asked: Tensor, least: float
) -> tuple[list[int], list[int], list[float]]:
    """Pairs of an asked row and another of its label with a cosine of `least` or more."""
    ones: list[int] = []
    others: list[int] = []
    cosines: list[float] = []
    for label in sorted(set(y[asked].tolist())):
        rows = (y == label).nonzero()[:, 0]
        mine = rows[asked[rows]]
        near = x[mine] @ x[rows].T
        near[mine[:, None] == rows] = -1
        for i, j in (near >= least).nonzero().tolist():
            ones.append(int(mine[i]))
            others.append(int(rows[j]))
            cosines.append(float(near[i, j]))
    return ones, others, cosines
