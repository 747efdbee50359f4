"""The rows of a dataset, as training reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Rows of one split, column by column."""

    ids: list[str]
    texts: list[str]
    intents: list[str]
    arguments: list[Mapping[str, Any] | None]
    weights: Tensor  # float32 (n,); of a dev row, 0 where it may only be chosen with

    def take(self, rows: Sequence[int]) -> Split:
        """Those rows alone."""
        return Split(
            ids=[self.ids[i] for i in rows],
            texts=[self.texts[i] for i in rows],
            intents=[self.intents[i] for i in rows],
            arguments=[self.arguments[i] for i in rows],
            weights=self.weights[list(rows)],
        )

    def plus(self, more: Split) -> Split:
        """These rows, then the others."""
        return Split(
            ids=self.ids + more.ids,
            texts=self.texts + more.texts,
            intents=self.intents + more.intents,
            arguments=self.arguments + more.arguments,
            weights=torch.cat([self.weights, more.weights]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetRows:
    """A dataset's rows, each part by id: the order they were written in changes nothing."""

    train: Split
    dev: Split
    unlabelled: list[str]  # texts


def read(path: Path) -> DatasetRows:
    """The rows of a dataset."""
    names = ["id", "text", "intent", "arguments", "split", "weight"]
    rows = sorted(pq.read_table(path, columns=names).to_pylist(), key=lambda row: str(row["id"]))
    splits = []
    for split in ("train", "dev"):
        chosen = [row for row in rows if row["split"] == split]
        splits.append(
            Split(
                ids=[row["id"] for row in chosen],
                texts=[row["text"] for row in chosen],
                intents=[row["intent"] for row in chosen],
                arguments=[json.loads(row["arguments"] or "null") for row in chosen],
                weights=torch.tensor([float(row["weight"]) for row in chosen]),
            )
        )
    unlabelled = [row["text"] for row in rows if row["split"] == "unlabelled"]
    return DatasetRows(train=splits[0], dev=splits[1], unlabelled=unlabelled)


# Which rows make a training step, and which of their tokens: decided by seed and epoch alone.

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


class TokenDropout:
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
