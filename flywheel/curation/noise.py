"""Label noise: refuse labels that an out-of-fold model finds unlikely.

Two errors must be balanced: wrong labels that are learned, and correct labels of a weak intent
that are refused until too few samples of it are left. Measured on CLINC150, five seeds an intent,
2,940 feedback labels with a tenth wrong: refusing at odds of 6 finds 84 % of the wrong labels,
and 92 % of the refused labels are wrong. The figures in docs/explanation/learning.md were measured
the same way.
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
    """Scores of one sample by an out-of-fold model."""

    p_label: float  # probability of the sample's own label, 0..1
    top: str  # the best-fitting intent, relative to the usual confidence of each intent
    p_top: float  # probability of `top`, 0..1
    odds: float  # how many times better `top` fits than the label; 1 when they are the same
    agree: float = 1.0  # share of the nearest samples with its label, teacher samples left out


_CERTAIN_FACTOR = 5.0  # times the threshold: refused regardless of the intent's `share`


def label_noise(
    candidates: Sequence[Sample],
    scores: Mapping[str, NoiseScore],
    ratio: float,
    share: float,
    bars: Mapping[str, float] = MappingProxyType({}),
) -> Curated:
    """Refuse samples where another intent fits more than `ratio` times as well as the label.

    At most a share `share` of an intent's samples is refused, the likeliest wrong first: a model
    that doubts most samples of an intent does not know the intent. Beyond that share only samples
    at five times the threshold are refused. The threshold of a teacher's sample whose label was
    confirmed by the blind question is five times as high. Seeds, samples labelled by a person and
    samples without a score are never refused.

    Reason: `label_noise`.

    Args:
        candidates: samples to judge.
        scores: by sample id.
        ratio: threshold of the odds, 1 or more; larger refuses less.
        share: 0..1, of an intent's samples that are neither seeds nor a person's.
        bars: by sample id, a factor of `ratio`: smaller where the rater errs more.
    """
    judged = [s for s in candidates if s.id in scores and s.origin not in TRUSTED]
    doubted: dict[str, list[Sample]] = defaultdict(list)
    bar_of = {sample.id: max(1.0, ratio * bars.get(sample.id, 1.0)) for sample in judged}
    for sample in judged:
        bar = bar_of[sample.id] * (_CERTAIN_FACTOR if _confirmed_blind(sample) else 1)
        if scores[sample.id].top != sample.intent and scores[sample.id].odds > bar:
            doubted[sample.intent].append(sample)
    sizes = Counter(sample.intent for sample in judged)
    refused: dict[str, Refusal] = {}
    for intent, suspects in doubted.items():
        suspects.sort(key=lambda sample: (-scores[sample.id].odds / bar_of[sample.id], sample.id))
        for rank, sample in enumerate(suspects):
            score = scores[sample.id]
            if (
                rank < int(share * sizes[intent])
                or score.odds > _CERTAIN_FACTOR * bar_of[sample.id]
            ):
                refused[sample.id] = _refusal(sample, score)
    return Curated(
        kept=tuple(sample for sample in candidates if sample.id not in refused),
        refused=tuple(refused[s.id] for s in candidates if s.id in refused),
    )


def _confirmed_blind(sample: Sample) -> bool:
    """Whether the teacher's answer to the blind question was the sample's label."""
    return bool((sample.provenance.get("blind") or {}).get("intent") == sample.intent)


def _refusal(sample: Sample, score: NoiseScore) -> Refusal:
    detail = (
        f"{score.top} fits {score.odds:.0f} times better "
        f"({score.p_top:.2f}, its label {score.p_label:.2f})"
    )
    return Refusal(sample=sample, reason="label_noise", detail=detail)
