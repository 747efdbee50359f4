"""Which rows make a training step, and which of their tokens: decided by seed and epoch alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_CHUNK = 64  # batches that are sorted by length together


def batches(hidden: Sequence[Tensor], size: int, seed: int) -> list[list[int]]:
    """The rows by number, shuffled into batches of `size` whose texts are of similar length."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(hidden), generator=generator).tolist()
    made: list[list[int]] = []
    for start in range(0, len(order), size * _CHUNK):
        chunk = sorted(order[start : start + size * _CHUNK], key=lambda i: len(hidden[i]))
        made += [chunk[i : i + size] for i in range(0, len(chunk), size)]
    return [made[i] for i in torch.randperm(len(made), generator=generator).tolist()]


class Thinning:
    """Drops tokens at random in one epoch, so that no text is learned by a single word.

    Source: word dropout, Iyyer et al. 2015 (deep averaging networks); here over the frozen states
    of tokens, each of which has seen the whole text.
    """

    def __init__(self, rate: float, seed: int) -> None:
        self._rate, self._generator = rate, torch.Generator().manual_seed(seed)

    def apply(self, states: Tensor, tags: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The text without some of its tokens; never without the first, nor one of an argument.

        Args:
            states: (length, width), or token ids (length,).
            tags: int64 (length,), above zero where a token belongs to an argument.
        """
        if not self._rate:
            return states, tags
        keep = torch.rand(len(states), generator=self._generator) >= self._rate
        keep[0] = True
        if tags is not None:
            keep |= tags > 0
        return states[keep], None if tags is None else tags[keep]
