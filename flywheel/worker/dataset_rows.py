"""The rows of a dataset, as training reads them: its splits, shares of them, and more rows."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
    unlabelled: list[str]  # texts to learn from, by what a first model says
    threshold: list[str]  # texts that are never learned, and carry the out-of-scope threshold


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
    unlabelled, threshold = (
        [row["text"] for row in rows if row["split"] == split]
        for split in ("unlabelled", "threshold")
    )
    return DatasetRows(train=splits[0], dev=splits[1], unlabelled=unlabelled, threshold=threshold)


def share_of(rows: Split, labels: Sequence[str], share: float, seed: int) -> Split:
    """A share of each intent's rows, at least one, drawn by the seed; in the order they were in."""
    y = class_numbers(rows.intents, labels)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    left = {n: math.ceil(share * int((y == n).sum())) for n in range(len(labels))}
    chosen = []
    for row in order.tolist():
        if left[int(y[row])] > 0:
            left[int(y[row])] -= 1
            chosen.append(row)
    return rows.take(sorted(chosen))


def joined(rows: Split, more: Split, labels: Sequence[str]) -> Split:
    """The rows, then more of the same labels; an intent weighs in sum what it weighed before.

    So whatever balance the dataset was given stays.
    """
    both = rows.plus(more)
    y = class_numbers(both.intents, labels)
    sums = torch.zeros(2, len(labels))  # before and after, by intent
    sums[0].index_add_(0, y[: len(rows.texts)], rows.weights)
    sums[1].index_add_(0, y, both.weights)
    return replace(both, weights=both.weights * (sums[0] / sums[1].clamp(min=1e-9))[y])


def class_numbers(intents: Sequence[str], labels: Sequence[str]) -> Tensor:
    """The place of each intent among the labels: int64 (n,)."""
    numbers = {label: number for number, label in enumerate(labels)}
    return torch.tensor([numbers[intent] for intent in intents], dtype=torch.int64)
