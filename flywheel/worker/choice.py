"""What is chosen on dev rows that training has not seen: the head, its calibration, the scope.

A choice outlives the model it was made on: the same choice serves the model that is trained once
more with the dev rows among its own, on which nothing could be chosen any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from flywheel.records import NONE
from flywheel.worker import heads, scope
from flywheel.worker.adapter import Trained
from flywheel.worker.logistic import Linear
from flywheel.worker.scope import Scope
from flywheel.worker.splits import Split
from flywheel.worker.tuning import Heads, Tuned
from flywheel.worker.work import Unseen, Work

Candidates = Mapping[str, Linear]
"""Heads by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which head serves, and how its logits become an answer."""

    head: str
    temperature: float
    shift: Tensor  # float32 (labels,), added to the logits after the division
    scope: Scope
    outside: Tensor  # float32, scores of the dev rows of `none` by the model it was made on


def choose(labels: list[str], candidates: Candidates, dev: Split, x: Tensor) -> Choice:
    """Choose on dev; without dev rows, what needs none.

    Args:
        labels: the classes, in the order of the heads' rows.
        x: float32 (n, width), embeddings of the dev rows.
    """
    known = [row for row, intent in enumerate(dev.intents) if intent in set(labels)]
    y = torch.tensor([labels.index(dev.intents[row]) for row in known], dtype=torch.int64)
    picked = heads.best(candidates, x[known], y)
    temperature, shift = heads.calibration(candidates[picked].logits(x[known]), y)
    head = heads.calibrated(candidates[picked], temperature, shift)
    logits = head.logits(x)
    rule = scope.choose(logits, labels, dev.intents)
    none = [row for row, intent in enumerate(dev.intents) if intent == NONE]
    outside = scope.score(logits[none], labels, rule.score)
    return Choice(head=picked, temperature=temperature, shift=shift, scope=rule, outside=outside)


def settle(
    work: Work, candidates: Candidates, tuned: Tuned, choice: Choice, unseen: Unseen | None = None
) -> Trained:
    """The trained model as it answers under the choice.

    Args:
        candidates: of this model; the chosen one is enough.
        unseen: given for another model than the choice was made on; the threshold is put where
            the old one lay among the dev rows of `none`, which no model has learned.
    """
    head = heads.calibrated(candidates[choice.head], choice.temperature, choice.shift)
    rule = choice.scope
    if unseen is not None and len(choice.outside):
        none = [row for row, intent in enumerate(unseen.rows.intents) if intent == NONE]
        x = work.finished(tuned, unseen.states.take(none)).embedding
        outside = scope.score(head.logits(x), work.labels, rule.score)
        rule = scope.carried(rule, choice.outside, outside)
    return Trained(
        base=work.spec["base"],
        base_sha256=work.trunk.base.sha256,
        max_length=int(work.spec["max_length"]),
        depth=work.trunk.depth,
        rank=work.recipe.rank,
        alpha=work.recipe.alpha,
        labels=work.labels,
        arguments=work.arguments,
        slots=work.slots,
        scope=rule,
        factors=tuned.factors,
        head=head,
        tag_head=tuned.tag_head,
    )


def candidates_of(work: Work, start: Heads, tuned: Tuned, only: str = "") -> Candidates:
    """The heads to choose from; the chosen one alone where its name is given and none is fitted."""
    if not work.recipe.epochs:
        return {"logistic": start[0]}
    if only == "trained":
        return {"trained": tuned.head}
    refit = work.fit(work.finished(tuned, work.states).embedding)
    return {"mean": heads.mean(tuned.head, refit), "trained": tuned.head, "refit": refit}
