"""The rule on label noise before it estimated its own precision: what the present one is held to.

A label was refused where another intent fitted six times as well, sooner where its rater erred
more; of an intent at most half, unless another fitted thirty times as well. The model learned
seeds and feedback, and no dev row.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from flywheel.curation import Believed, NoiseScore
from flywheel.records import Sample

RATIO, SHARE, CERTAIN = 6.0, 0.5, 5.0
NOMINAL, EXPONENT = 0.10, 1.6


def former_rule(
    samples: Sequence[Sample], scores: Mapping[str, NoiseScore], believed: Believed
) -> frozenset[str]:
    """Ids of the samples that the former rule refuses."""
    judged = [s for s in samples if s.origin == "feedback" and s.id in scores]
    bar = {s.id: max(1.0, RATIO * _factor(believed.wrong_of(s))) for s in judged}
    doubted: dict[str, list[Sample]] = defaultdict(list)
    for sample in judged:
        score = scores[sample.id]
        if score.top != sample.intent and score.odds > bar[sample.id]:
            doubted[sample.intent].append(sample)
    sizes = Counter(sample.intent for sample in judged)
    refused = set()
    for intent, suspects in doubted.items():
        suspects.sort(key=lambda s: (-scores[s.id].odds / bar[s.id], s.id))
        for rank, sample in enumerate(suspects):
            certain = scores[sample.id].odds > CERTAIN * bar[sample.id]
            if rank < int(SHARE * sizes[intent]) or certain:
                refused.add(sample.id)
    return frozenset(refused)


def _factor(error_rate: float | None) -> float:
    if error_rate is None:
        return 1.0
    usual = NOMINAL / (1 - NOMINAL)
    return ((1 - error_rate) / max(1e-6, error_rate) * usual) ** (1 / EXPONENT)
