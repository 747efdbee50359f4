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
class Rows:
    """A dataset's rows, each part by id: the order they were written in changes nothing."""

    train: Split
    dev: Split
    unlabelled: list[str]  # texts


def read(path: Path) -> Rows:
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
    return Rows(train=splits[0], dev=splits[1], unlabelled=unlabelled)
