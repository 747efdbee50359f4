"""Self-training: texts that nobody labelled, learned by what a first model says of them.

Of every intent the surest share of the texts it is the answer to, so that easy intents do not
crowd out the others; each for a fraction of a labelled row's weight. Whether it helped is seen
on dev, where both models are compared.

Source: pseudo-labels, Lee 2013; a share of each class, Zou et al. 2018, arXiv 1810.07911.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from flywheel.records import NONE
from flywheel.worker.dataset_rows import Split
from flywheel.worker.frozen_states import States
from flywheel.worker.recipes import RECIPES
from flywheel.worker.training_run import Unseen, Work
from flywheel.worker.tuning import Heads, Training
from flywheel.worker.upper_layers import Finished

SHARE = 0.8
"""Of the texts that a model answers with an intent, this share is learned: the surest."""

WEIGHT = 0.3
"""Of a pseudo-labelled row; a labelled one weighs about one."""

RECIPE = replace(RECIPES["quick"], epochs=4, token_dropout=0.1)
"""Of the second training: there are many rows by then, some of them wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One training, and what its model makes of the dev rows."""

    work: Work
    start: Heads
    made: Training
    dev: Finished

    def right(self, unseen: Unseen) -> int:
        """How many dev rows of known intents the trained head answers rightly."""
        best = self.made.tuned.head.logits(self.dev.embedding).argmax(1).tolist()
        labels = self.work.labels
        return sum(labels[i] == intent for i, intent in zip(best, unseen.rows.intents, strict=True))


@dataclass(frozen=True, slots=True)
class Unlabelled:
    """Texts without a label, and their states."""

    texts: Sequence[str]
    states: States


def surest(logits: Tensor, share: float) -> list[tuple[int, int]]:
    """(row, class) of the surest rows of each class, by class, then the surest first.

    Args:
        logits: float32 (n, classes).
        share: of the rows that a class is the answer to, above 0 and up to 1; at least one row.
    """
    confidence, best = logits.softmax(1).max(1)
    chosen: list[tuple[int, int]] = []
    for number in range(logits.shape[1]):
        rows = (best == number).nonzero()[:, 0]
        ranked = rows[confidence[rows].argsort(descending=True, stable=True)].tolist()
        chosen += [(row, number) for row in ranked[: math.ceil(share * len(ranked))]]
    return chosen


def taught_by(first: Attempt, unlabelled: Unlabelled) -> Work:
    """The work with the unlabelled texts among its rows, as the first model labels them.

    Those that it calls `none` stay out: what nobody asked for has no likeness to learn.
    """
    work = first.work
    embedding = work.finished(first.made.tuned, unlabelled.states).embedding
    known = set(work.train.texts)
    pairs = [
        (row, work.labels[number])
        for row, number in surest(first.made.tuned.head.logits(embedding), SHARE)
        if work.labels[number] != NONE and unlabelled.texts[row] not in known
    ]
    rows = [row for row, _ in pairs]
    more = Split(
        ids=[f"pseudo-{row}" for row in rows],
        texts=[unlabelled.texts[row] for row in rows],
        intents=[intent for _, intent in pairs],
        arguments=[None] * len(rows),
        weights=torch.full((len(rows),), WEIGHT),
    )
    second = work.plus(more, unlabelled.states.take(rows))
    second.recipe = replace(RECIPE, layers=work.recipe.layers)
    return second
