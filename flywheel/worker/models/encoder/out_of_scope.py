"""In scope or not: the score and the threshold that tell a call from `none`.

A text is out of scope when its score is below the threshold. `none` may also be a class of the
head, when there are training rows for it. Texts of `none` with a label are few, those of intents
many: the threshold is set by how many right calls it may cost, and the few choose the score alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from flywheel.records import NONE

Score = Literal["energy", "confidence", "margin", "both", "always"]

LOST = 0.005
"""Of the dev rows of intents this share may be called `none` though the call would be right."""

_NONE_COUNTS = 2
"""A dev row of `none` weighs as much as two others: they are few, and a wrong call costs more."""

_TAIL = 10
"""Lowest scores that tell the tail below them, where dev has fewer rows than 1 / `LOST`."""

MANY = 30
"""Texts without a label; with as many a threshold is carried by the middle one of them."""


@dataclass(frozen=True, slots=True)
class ScopeRule:
    """The rule: `none` where the score is below the threshold.

    energy: logsumexp of the in-scope logits; confidence: their largest softmax; margin: the
    largest logit minus that of the class `none`; both: the largest logit plus that margin;
    always: every text is in scope.
    """

    score: Score = "always"
    threshold: float = 0.0


@dataclass(frozen=True, slots=True)
class ScopedAnswers:
    """One answer a row."""

    intents: list[str]
    confidence: Tensor  # float32 (n,), 0..1
    margin: Tensor | None  # float32 (n,): the score less the threshold; None where none is applied


def answer(logits: Tensor, labels: Sequence[str], scope: ScopeRule) -> ScopedAnswers:
    """Turn logits float32 (n, labels) into intents.

    The confidence in an intent is its softmax over all labels; in `none`, one minus that of the
    intent it would otherwise be.
    """
    inside = [i for i, label in enumerate(labels) if label != NONE]
    if not inside:
        return ScopedAnswers([NONE] * len(logits), torch.ones(len(logits)), None)
    best = logits[:, inside].argmax(1)  # (n,), places in `inside`
    p = logits.softmax(1)[:, inside].gather(1, best[:, None])[:, 0]  # (n,)
    scores = score(logits, labels, scope.score)
    out = scores < scope.threshold
    names = [labels[i] for i in inside]
    picked = zip(best.tolist(), out.tolist(), strict=True)
    intents = [NONE if outside else names[row] for row, outside in picked]
    sure = torch.where(out, 1 - p, p).clamp(0, 1)
    margin = None if scope.score == "always" else scores - scope.threshold
    return ScopedAnswers(intents, sure, margin)


def choose(logits: Tensor, labels: Sequence[str], truth: Sequence[str]) -> ScopeRule:
    """The rule that gains most on dev, among those that cost `LOST` right calls or are worth more.

    A threshold may always cost that much. It costs more where dev itself says that this pays, a row
    of `none` counted twice: where dev is small, `LOST` of it is less than a row. Of scores that
    differ by one row of `none` or less the first is taken: `both` where there is a class.

    Args:
        logits: float32 (n, labels) of the dev rows.
        truth: their intents.

    Where no row was ever `none`, in dev or in training, every text is in scope. Where no dev row
    shows what a call costs, the class `none` alone decides.
    """
    has_class = NONE in labels
    outside = torch.tensor([intent == NONE for intent in truth], dtype=torch.bool)
    called = answer(logits, labels, ScopeRule()).intents
    right = torch.tensor([a == b != NONE for a, b in zip(called, truth, strict=True)])
    if not (has_class or outside.any()):
        return ScopeRule()
    if not right.any():
        return ScopeRule("margin", 0.0) if has_class else ScopeRule()
    names: list[Score] = ["energy", "confidence"]
    if has_class:
        names = ["both", "energy", "margin", "confidence"]
    rules, points = [], []
    for name in names:
        scores = score(logits, labels, name)
        at = _cut(scores[right], int((~outside).sum()))
        if outside.any():
            at = max(at, _most_right(scores, right, outside))
        rules.append(ScopeRule(name, at))
        below = scores < at
        points.append(int(_NONE_COUNTS * (below & outside).sum() - (below & right).sum()))
    best = max(points)
    return next(rule for rule, got in zip(rules, points, strict=True) if got >= best - _NONE_COUNTS)


def _cut(right: Tensor, rows: int) -> float:
    """The threshold below which the share `LOST` of in-scope texts is called right.

    Between two of the scores where there are enough; else below the lowest, by an exponential tail.

    Args:
        right: float32 (n,), scores of the rows in scope that are called right; at least one.
        rows: all dev rows in scope.

    Source: Weissman 1978, JASA 73(364), for the tail.
    """
    ranked = right.double().sort().values
    place = LOST * (rows + 1)  # rank of the score that is the threshold, from 1
    below = int(place)
    if below >= len(ranked):
        return float(ranked[-1])
    if below:
        return float(ranked[below - 1].lerp(ranked[below], place - below))
    some = min(_TAIL, len(ranked) - 1)
    scale = float(ranked[some] - ranked[:some].mean()) if some else 0.0
    return float(ranked[0]) + scale * math.log(place)


def _most_right(scores: Tensor, right: Tensor, outside: Tensor) -> float:
    """The threshold that is right most often on dev: the middle one of the cuts that are.

    Args:
        scores: float32 (n,).
        right: bool (n,), in scope and called right.
        outside: bool (n,), `none`.
    """
    order = scores.argsort()
    ranked = scores[order].double()  # (n,), the lowest first
    gain = _NONE_COUNTS * outside[order].long() - right[order].long()
    points = torch.cat([torch.zeros(1, dtype=torch.long), gain.cumsum(0)])  # (n + 1,)
    low = torch.cat([ranked[:1] - 1, ranked])
    high = torch.cat([ranked, ranked[-1:] + 1])
    points = torch.where(high > low, points, points.min() - 1)  # no threshold parts equal scores
    points[0] = 0  # below all
    edges = ((low + high) / 2)[points == points.max()]
    return float(edges[len(edges) // 2])


_SCALES = (0.5, 2.0)
"""A spread that changes by more than this says more of a few texts than of the models."""

_ENOUGH = 8
"""Texts of `none`; with fewer only the mean is matched."""

_SURE = 1e-6


def carried(rule: ScopeRule, before: Tensor, after: Tensor) -> ScopeRule:
    """The rule for another model: its threshold lies where the old one lay among the same texts.

    A model that learned more is surer of everything, so an old threshold would let all pass. Scores
    are matched by mean and spread: by order alone, a threshold above all texts of `none` would
    hang on the one that looks most like a call, and they are few. A confidence is matched as its
    log odds, so that it stays one.

    Args:
        before: float32 (n,), scores of texts of `none` by the model that the rule was chosen on.
        after: float32 (n,), scores of the same texts by the other model.
    """
    at = torch.tensor(rule.threshold, dtype=torch.float64)
    old, new = before.double(), after.double()
    odds = rule.score == "confidence"
    if odds:
        old, new, at = (x.clamp(_SURE, 1 - _SURE).logit() for x in (old, new, at))
    scale = torch.tensor(1.0, dtype=torch.float64)
    if len(old) >= _ENOUGH and old.std() > 0:
        scale = (new.std() / old.std()).clamp(*_SCALES)
    moved = new.mean() + scale * (at - old.mean())
    return ScopeRule(rule.score, float(moved.sigmoid() if odds else moved))


def carried_by_shift(rule: ScopeRule, before: Tensor, after: Tensor) -> ScopeRule:
    """The rule for another model: its threshold moves as the middle one of the same texts does.

    The middle of production texts says how much surer the model has become. What lies near the
    threshold is left out of it: among few texts a tail is one or two of them. A confidence moves by
    its log odds, so that it stays one.

    Args:
        before: float32 (n,), scores by the model that the rule was chosen on, of texts that neither
            model has learned; at least one.
        after: float32 (n,), their scores by the other model.
    """
    at = torch.tensor(rule.threshold, dtype=torch.float64)
    old, new = before.double(), after.double()
    odds = rule.score == "confidence"
    if odds:
        old, new, at = (x.clamp(_SURE, 1 - _SURE).logit() for x in (old, new, at))
    moved = at + new.quantile(0.5) - old.quantile(0.5)
    return ScopeRule(rule.score, float(moved.sigmoid() if odds else moved))


def score(logits: Tensor, labels: Sequence[str], kind: Score) -> Tensor:
    """How much each row looks like one in scope, float32 (n,); see `ScopeRule`."""
    inside = logits[:, [i for i, label in enumerate(labels) if label != NONE]]  # (n, in scope)
    if kind == "energy":
        return inside.logsumexp(1)
    if kind == "confidence":
        return inside.softmax(1).amax(1)
    if kind in ("margin", "both"):
        margin = inside.amax(1) - logits[:, list(labels).index(NONE)]
        return margin if kind == "margin" else margin + inside.amax(1)
    return torch.ones(len(logits))
