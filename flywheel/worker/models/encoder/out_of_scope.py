"""In scope or not: the score and the threshold that tell a call from `none`, chosen on dev.

A text is out of scope when its score is below the threshold. `none` may also be a class of the
head, when there are training rows for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from flywheel.records import NONE

Score = Literal["energy", "confidence", "margin", "both", "always"]

_NONE_COUNTS = 2
"""A dev row of `none` weighs as much as two others: they are few, and a wrong call costs more."""


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
    """The rule that is right most often on dev, where a row of `none` counts twice.

    Args:
        logits: float32 (n, labels) of the dev rows.
        truth: their intents.

    Without dev rows of `none` there is nothing to choose by: the class decides where there is
    one, and every text is in scope where there is none.
    """
    has_class = NONE in labels
    fallback = ScopeRule("margin", 0.0) if has_class else ScopeRule()
    if NONE not in truth or not set(truth) - {NONE}:
        return fallback
    inside = answer(logits, labels, ScopeRule()).intents
    right = torch.tensor([a == b for a, b in zip(inside, truth, strict=True)])
    outside = torch.tensor([t == NONE for t in truth])
    scores: list[Score] = ["energy", "confidence"]
    if has_class:
        scores = ["both", "margin", *scores]
    cuts = [(*_best_cut(score(logits, labels, s), right, outside), s) for s in scores]
    _, threshold, best = max(cuts, key=lambda cut: cut[0])
    return ScopeRule(best, threshold)


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


def _best_cut(scores: Tensor, right: Tensor, outside: Tensor) -> tuple[int, float]:
    """Most points at any cut, and the middle one of the cuts that reach it."""
    order = scores.argsort()
    ranked = scores[order]  # (n,), the lowest first
    # points[k]: the k rows of the lowest scores are called out of scope.
    gain = _NONE_COUNTS * outside[order].long() - right[order].long()
    points = right.sum() + torch.cat([torch.zeros(1, dtype=torch.long), gain.cumsum(0)])  # (n + 1,)
    low = torch.cat([ranked[:1] - 1, ranked])
    high = torch.cat([ranked, ranked[-1:] + 1])
    edges = (low + high) / 2
    edges = torch.where(edges > low, edges, high)  # neighbours so close that the middle rounds down
    possible = high > low  # no threshold parts equal scores
    possible[0] = possible[-1] = True
    points = torch.where(possible, points, -1)
    best = points.max()
    reaching = edges[points == best]
    return int(best), float(reaching[len(reaching) // 2])


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
