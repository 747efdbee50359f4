"""Which labels are likely wrong, by a model that was not shown them.

Two dangers lie on both sides: wrong labels that are learnt, and right labels of a weak intent
that are refused until nothing of it is left to learn. On CLINC150, five seeds an intent, 2,940
feedback labels with a tenth wrong, refusing at odds of 6 finds 84 % of the wrong ones, and 92 %
of what it refuses is wrong; what `learning.md` in docs/explanation says was measured so.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from flywheel.curation.screening import TRUSTED, Curated
from flywheel.records import Refusal, Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseScore:
    """What an out-of-fold model says of a sample."""

    p_label: float  # probability of the sample's own label, 0..1
    top: str  # the intent that fits best, for what each intent's rows usually get
    p_top: float
    odds: float  # how much better than its label; 1 when they are the same
    agree: float = 1.0  # share of the nearest samples, a teacher's left out, that have its label


_CERTAIN = 5.0  # times the ratio: refused however many of its intent are


def label_noise(
    candidates: Sequence[Sample],
    scores: Mapping[str, NoiseScore],
    ratio: float,
    share: float,
    bars: Mapping[str, float] = MappingProxyType({}),
) -> Curated:
    """Refuse where another intent fits more than `ratio` times as well as the label.

    Of one intent's doubtful samples at most `share` are refused, the likeliest wrong first: where
    a model doubts most of an intent, it is the model that does not know it. Only what fits
    another intent far better yet goes in any case; so does only that of what a teacher labelled
    alike twice. Seeds and what a person labelled are never
    refused, nor is a sample without a score.

    Args:
        candidates: samples to judge.
        scores: by sample id.
        ratio: 1 or more; larger refuses less.
        share: 0..1, of an intent's samples that are neither seeds nor a person's.
        bars: by sample id, what `ratio` is multiplied by: less where the rater errs more.
    """
    judged = [s for s in candidates if s.id in scores and s.origin not in TRUSTED]
    doubted: dict[str, list[Sample]] = defaultdict(list)
    bar_of = {sample.id: max(1.0, ratio * bars.get(sample.id, 1.0)) for sample in judged}
    for sample in judged:
        bar = bar_of[sample.id] * (_CERTAIN if _vouched(sample) else 1)
        if scores[sample.id].top != sample.intent and scores[sample.id].odds > bar:
            doubted[sample.intent].append(sample)
    sizes = Counter(sample.intent for sample in judged)
    refused: dict[str, Refusal] = {}
    for intent, found in doubted.items():
        found.sort(key=lambda sample: (-scores[sample.id].odds / bar_of[sample.id], sample.id))
        for place, sample in enumerate(found):
            score = scores[sample.id]
            if place < int(share * sizes[intent]) or score.odds > _CERTAIN * bar_of[sample.id]:
                refused[sample.id] = _refusal(sample, score)
    return Curated(
        kept=tuple(sample for sample in candidates if sample.id not in refused),
        refused=tuple(refused[s.id] for s in candidates if s.id in refused),
    )


def _vouched(sample: Sample) -> bool:
    """Whether the teacher gave the same label again when it was not told."""
    return bool((sample.provenance.get("blind") or {}).get("intent") == sample.intent)


def _refusal(sample: Sample, score: NoiseScore) -> Refusal:
    detail = (
        f"{score.top} fits {score.odds:.0f} times better "
        f"({score.p_top:.2f}, its label {score.p_label:.2f})"
    )
    return Refusal(sample=sample, reason="label_noise", detail=detail)
