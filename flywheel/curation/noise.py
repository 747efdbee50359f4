"""Which labels are likely wrong, by a model that was not shown them.

At a ratio of 2, five-fold logistic regression on CLINC150 with 10 % of labels wrong found them
with a precision of .75 to .79 and a recall of .92 to .96.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flywheel.curation.screening import TRUSTED, Curated
from flywheel.records import Refusal, Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseScore:
    """What an out-of-fold model says of a sample."""

    p_label: float  # probability of the sample's own label, 0..1
    top: str  # the likeliest intent
    p_top: float


def label_noise(
    candidates: Sequence[Sample], scores: Mapping[str, NoiseScore], ratio: float
) -> Curated:
    """Refuse where the top class is not the label and more than `ratio` times as likely.

    Seeds and what a person labelled are never refused, nor is a sample without a score.

    Args:
        candidates: samples to judge.
        scores: by sample id.
        ratio: 1 or more; larger refuses less.
    """
    kept: list[Sample] = []
    refused: list[Refusal] = []
    for sample in candidates:
        score = scores.get(sample.id)
        if score is None or sample.origin in TRUSTED or not _doubted(sample, score, ratio):
            kept.append(sample)
            continue
        detail = f"{score.top} at {score.p_top:.2f}, its label at {score.p_label:.2f}"
        refused.append(Refusal(sample=sample, reason="label_noise", detail=detail))
    return Curated(kept=tuple(kept), refused=tuple(refused))


def _doubted(sample: Sample, score: NoiseScore, ratio: float) -> bool:
    return score.top != sample.intent and score.p_top > ratio * score.p_label
