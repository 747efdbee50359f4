"""Self-training: texts that nobody labelled, learned by what a first model says of them.

Of every intent the surest share of the texts it is the answer to, so that easy intents do not
crowd out the others; each for a fraction of a labelled row's weight. Whether it helped is seen
on dev, where both models are compared.

Source: pseudo-labels, Lee 2013; a share of each class, Zou et al. 2018, arXiv 1810.07911.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from flywheel.records import NONE
from flywheel.worker.dataset_rows import Split
from flywheel.worker.models.protocol import FittedModel
from flywheel.worker.recipes import RECIPES

SHARE = 0.8
"""Of the texts that a model answers with an intent, this share is learned: the surest."""

WEIGHT = 0.3
"""Of a pseudo-labelled row; a labelled one weighs about one."""

RECIPE = replace(RECIPES["quick"], epochs=4, token_dropout=0.1)
"""Of the second training: there are many rows by then, some of them wrong."""


def surest(scores: Tensor, share: float) -> list[tuple[int, int]]:
    """(row, class) of the surest rows of each class, by class, then the surest first.

    Args:
        scores: float32 (n, classes), unnormalised log-probabilities.
        share: of the rows that a class is the answer to, above 0 and up to 1; at least one row.
    """
    confidence, best = scores.softmax(1).max(1)  # (n,) each
    chosen: list[tuple[int, int]] = []
    for number in range(scores.shape[1]):
        rows = (best == number).nonzero()[:, 0]
        ranked = rows[confidence[rows].argsort(descending=True, stable=True)].tolist()
        chosen += [(row, number) for row in ranked[: math.ceil(share * len(ranked))]]
    return chosen


def pseudo_labelled(first: FittedModel, texts: Sequence[str]) -> Split:
    """Training rows of the surest texts, labelled by the first model.

    Texts that it calls `none` stay out, since out-of-scope texts do not resemble one another; so
    do those that are training rows already.
    """
    labels, known = first.request.labels, set(first.request.train.texts)
    pairs = [
        (row, labels[number])
        for row, number in surest(first.scores(texts), SHARE)
        if labels[number] != NONE and texts[row] not in known
    ]
    return Split(
        ids=[f"pseudo-{row}" for row, _ in pairs],
        texts=[texts[row] for row, _ in pairs],
        intents=[intent for _, intent in pairs],
        arguments=[None] * len(pairs),
        weights=torch.full((len(pairs),), WEIGHT),
    )


def dev_hits(fitted: FittedModel) -> int:
    """Number of dev rows whose intent scores highest."""
    labels, dev = fitted.request.labels, fitted.request.dev
    best = fitted.scores(dev.texts).argmax(1).tolist()
    return sum(labels[n] == intent for n, intent in zip(best, dev.intents, strict=True))
