"""Which labels are likely wrong, and how sure is that on the set at hand?

Pure. An out-of-fold model says how many times better another intent fits than a label. What that is
worth differs between sets: where intents overlap, right labels are doubted too. So the rule is
calibrated on every batch by labels that are known to be right (seeds, people's labels, dev),
scored in the same way. They say how many right labels of the batch to expect at each score or
above; what the batch has beyond that is wrong. It is the estimate of target-decoy competition,
with its correction: one right label more than were seen. Where no label is known to be right,
nothing is refused.

Source: the two-groups model of Efron, "Microarrays, empirical Bayes and the two-groups model"
(2008); Elias and Gygi, "Target-decoy search strategy" (2007), with the +1 of He et al., "A
theoretical foundation of the target-decoy search strategy" (2015); isotonic regression by
pool-adjacent-violators. docs/adr/0098-curation-estimates-its-own-precision.md
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from flywheel.config.tables import CurationTable
from flywheel.curation.raters import Believed, NoiseScore
from flywheel.curation.screening import is_trusted
from flywheel.records import Refusal, Sample

Floats = NDArray[np.float64]

_SHRINK = 10.0  # known labels of an intent that weigh as much as all others in how hard it is
_SLOPE = 2.0  # an intent e² times as hard has its scores lowered by one
_LIKELIER_WRONG = 0.5  # never refused below, whatever the precision of all refused ones
_MARGIN = 0.5  # standard errors by which the expected right labels are raised
_DOUBTED = 0.2  # from here on a label counts less
_CERTAIN = 0.95  # refused also beyond an intent's `noise_share`
_ROUNDS = 8  # of the share of right labels, which the expected right labels depend on
_LEAST_RIGHT = 0.5  # share of a batch that is taken for right, at least

# What is supposed beside the labels that are known to be right: 20 more, of which one in ten is
# doubted, at odds that fall off as 1/odds. They raise what is expected, and are no evidence.
_PRIOR_LABELS, _PRIOR_DOUBTED = 20.0, 0.1
_PRIOR_SCORES = -np.log(1 - (np.arange(8) + 0.5) / 8)  # (8,), quantiles of log odds

_BLIND_FACTOR = 5**-1.6
"""Odds of being wrong of a teacher's label that was confirmed by the blind question, times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelDoubt:
    """What is believed of one label."""

    wrong: float  # probability, 0..1
    score: NoiseScore

    def told(self) -> str:
        """Why, without the text."""
        return (
            f"wrong with probability {self.wrong:.2f}: {self.score.top} fits "
            f"{self.score.odds:.0f} times better ({self.score.p_top:.2f}, "
            f"its label {self.score.p_label:.2f})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Mislabelled:
    """Labels as they are learned, those refused, and how sure the rule is on this set.

    `kept` carries the lowered weights; `doubted` are its samples of lowered weight, by id. `spared`
    are doubted ones that keep their weight: of their intent no label is known to be right.
    """

    kept: tuple[Sample, ...]
    refused: tuple[Refusal, ...] = ()
    doubted: Mapping[str, LabelDoubt] = field(default_factory=dict)
    refused_doubts: Mapping[str, LabelDoubt] = field(default_factory=dict)  # of refused ones
    spared: Mapping[str, LabelDoubt] = field(default_factory=dict)
    judged: int = 0  # labels that were scored and nobody vouches for
    known: int = 0  # labels known to be right, by which the rule was calibrated
    wrong: float = 0.0  # estimated share of wrong labels among those judged, 0..1
    precision: float | None = None  # estimated, of the refused ones; None: none is refused

    def summary(self) -> dict[str, float | int | None]:
        """The figures for the turn's record."""
        return {
            "judged": self.judged,
            "known": self.known,
            "wrong": round(self.wrong, 4),
            "refused": len(self.refused),
            "precision": None if self.precision is None else round(self.precision, 4),
            "down_weighted": len(self.doubted),
            "spared": len(self.spared),
        }


def mislabelled(
    candidates: Sequence[Sample],
    known: Sequence[Sample],
    scores: Mapping[str, NoiseScore],
    believed: Believed,
    table: CurationTable,
) -> Mislabelled:
    """Refuse labels that are likely wrong, and weigh doubted ones less.

    Of the refused labels a share `table.noise_precision` or more is wrong, by estimate on this
    set, and none is likelier right. They are refused from the likeliest wrong down, of an intent at
    most `table.noise_share` unless nearly certain, and only where another intent fits more than
    `table.noise_ratio` times as well. A label that stays has its weight multiplied by the
    probability that it is right, where that is below .8. Never refused and never weighed less are
    seeds, what people and experts labelled, samples without a score, and labels of an intent of
    which no scored label is known to be right.

    Reason: `label_noise`.

    Args:
        candidates: samples to judge; those with a person's word among them are known too.
        known: further samples whose labels are right, such as dev.
        scores: out-of-fold, by sample id, of `candidates` and `known`.
        believed: error rates of the voices, which move the odds of their labels.
        table: [curation].
    """
    told = {name: score for name, score in scores.items() if score.taught}
    trusted = [*(s for s in candidates if is_trusted(s)), *known]
    reference = [(s.intent, _doubt_score(told[s.id])) for s in trusted if s.id in told]
    judged = [s for s in candidates if not is_trusted(s) and s.id in told]
    doubts = _doubts(judged, reference, scores, believed)
    vouched = {intent for intent, _ in reference}
    mine = [sample for sample in judged if sample.intent in vouched]
    refused, precision = _refused(mine, doubts, len(judged) / max(1, len(reference)), table)
    left = {s.id: doubts[s.id] for s in judged if s.id not in refused}
    left = {name: doubt for name, doubt in left.items() if doubt.wrong >= _DOUBTED}
    spared = {s.id for s in judged if s.intent not in vouched}
    lowered = {name: doubt for name, doubt in left.items() if name not in spared}
    return Mislabelled(
        kept=tuple(_weighed(s, lowered.get(s.id)) for s in candidates if s.id not in refused),
        refused=tuple(_refusal(s, doubts[s.id]) for s in judged if s.id in refused),
        doubted=lowered,
        refused_doubts={name: doubts[name] for name in sorted(refused)},
        spared={name: doubt for name, doubt in left.items() if name in spared},
        judged=len(judged),
        known=len(reference),
        wrong=_mean([doubt.wrong for doubt in doubts.values()]),
        precision=precision,
    )


def _refusal(sample: Sample, doubt: LabelDoubt) -> Refusal:
    return Refusal(sample=sample, reason="label_noise", detail=doubt.told())


def _doubts(
    judged: Sequence[Sample],
    reference: Sequence[tuple[str, float]],
    scores: Mapping[str, NoiseScore],
    believed: Believed,
) -> dict[str, LabelDoubt]:
    """What is believed of each label; those of one origin are one batch."""
    wrong: dict[str, float] = {}
    for origin in sorted({sample.origin for sample in judged}):
        batch = [sample for sample in judged if sample.origin == origin]
        wrong |= _wrong(batch, reference, scores, believed)
    return {s.id: LabelDoubt(wrong=wrong[s.id], score=scores[s.id]) for s in judged}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))


def most_valuable(
    noise: Mislabelled, asked: Sequence[Sample], learned: Sequence[Sample], most: int
) -> tuple[tuple[Sample, LabelDoubt], ...]:
    """Return the doubted labels that are worth most to ask a person about, at most `most`.

    What an answer is worth: the variance of what is believed of the label, times the share that
    the sample has of its intent, since every intent weighs the same in training. Refused labels
    count too: the less sure their refusal, the more.

    Args:
        noise: of the batch.
        asked: samples that a person can be asked about.
        learned: samples by which the intents are counted.
        most: 0 or more.
    """
    sizes = Counter(sample.intent for sample in learned)
    doubts = {**noise.refused_doubts, **noise.doubted, **noise.spared}
    doubted = [sample for sample in asked if sample.id in doubts]
    doubted.sort(
        key=lambda s: (-_variance(doubts[s.id].wrong) / max(1, sizes[s.intent]), s.id),
    )
    return tuple((sample, doubts[sample.id]) for sample in doubted[:most])


def _variance(wrong: float) -> float:
    return wrong * (1 - wrong)


def _doubt_score(score: NoiseScore) -> float:
    return math.log(max(1.0, score.odds))


def _weighed(sample: Sample, doubt: LabelDoubt | None) -> Sample:
    if doubt is None:
        return sample
    return replace(sample, weight=sample.weight * round(1 - doubt.wrong, 3))


def _refused(
    judged: Sequence[Sample],
    doubts: Mapping[str, LabelDoubt],
    per_known: float,
    table: CurationTable,
) -> tuple[frozenset[str], float | None]:
    """Ids of the labels to refuse, and the share of them that is wrong by estimate.

    Args:
        judged: whose ids are asked.
        doubts: by sample id.
        per_known: how many judged labels one known label stands for.
        table: [curation].
    """
    sizes = Counter(sample.intent for sample in judged)
    suspects = [
        sample
        for sample in judged
        if doubts[sample.id].wrong >= _LIKELIER_WRONG
        and doubts[sample.id].score.top != sample.intent
        and doubts[sample.id].score.odds > table.noise_ratio
    ]
    suspects.sort(key=lambda s: (-doubts[s.id].wrong, -doubts[s.id].score.odds, s.id))
    refused: list[str] = []
    longest, precision, right = 0, None, 0.0
    taken: Counter[str] = Counter()
    for sample in suspects:
        doubt = doubts[sample.id]
        within = taken[sample.intent] < int(table.noise_share * sizes[sample.intent])
        if not within and doubt.wrong < _CERTAIN:
            continue
        taken[sample.intent] += 1
        refused.append(sample.id)
        right += 1 - doubt.wrong
        expected = right + per_known
        if expected + _MARGIN * math.sqrt(right * per_known) <= (1 - table.noise_precision) * len(
            refused
        ):
            longest, precision = len(refused), 1 - expected / len(refused)
    return frozenset(refused[:longest]), precision


def _wrong(
    batch: Sequence[Sample],
    reference: Sequence[tuple[str, float]],
    scores: Mapping[str, NoiseScore],
    believed: Believed,
) -> dict[str, float]:
    """Probability by sample id that its label is wrong, of a batch of one origin.

    A label that fits best itself is right.
    """
    wrong = {sample.id: 0.0 for sample in batch}
    doubted = [sample for sample in batch if scores[sample.id].odds > 1]
    if not doubted:
        return wrong
    hardness = _Hardness(reference)
    z = np.array([hardness.lowered(s.intent, _doubt_score(scores[s.id])) for s in doubted])  # (d,)
    z_known, weights = hardness.expected(Counter(sample.intent for sample in batch))
    for sample, right in zip(doubted, _right(z, len(batch), z_known, weights), strict=True):
        odds = (1 - right) / max(right, 1e-9) * _prior_factor(sample, believed)
        wrong[sample.id] = float(odds / (1 + odds))
    return wrong


class _Hardness:
    """How hard each intent is: the mean score of its known labels, shrunk to that of all.

    Args:
        reference: (label, log odds) of labels known to be right.
    """

    def __init__(self, reference: Sequence[tuple[str, float]]) -> None:
        self._reference = reference
        self._sums: dict[str, float] = defaultdict(float)
        for intent, score in reference:
            self._sums[intent] += score
        self._counts = Counter(intent for intent, _ in reference)
        doubts = sum(self._sums.values()) + _PRIOR_LABELS * _PRIOR_DOUBTED
        self._mean = doubts / (len(reference) + _PRIOR_LABELS)

    def lowered(self, intent: str, score: float, *, known: bool = False) -> float:
        """The score, lower where the intent is harder than most.

        Args:
            intent: the label.
            score: log odds against it.
            known: it is in the reference, and must not count in what it is compared with.
        """
        total = self._sums[intent] - known * score + _SHRINK * self._mean
        count = self._counts[intent] - known + _SHRINK
        return score - math.log(total / count / self._mean) / _SLOPE

    def expected(self, asked: Mapping[str, int]) -> tuple[Floats, Floats]:
        """Scores of doubted right labels (m,), and how many of a batch each stands for (m,).

        A known label stands for as many as its intent has in the batch, in proportion; the prior
        for an equal share.

        Args:
            asked: labels of the batch, by intent.
        """
        shares = {name: asked.get(name, 0) / count for name, count in self._counts.items()}
        total = sum(shares[name] * count for name, count in self._counts.items())
        known = len(self._reference)
        size = sum(asked.values()) / (known + _PRIOR_LABELS)
        doubted = [(intent, score) for intent, score in self._reference if score > 0]
        scores = [self.lowered(intent, score, known=True) for intent, score in doubted]
        weights = [
            size * known * shares[intent] / total if total else size for intent, _ in doubted
        ]
        prior = size * _PRIOR_LABELS * _PRIOR_DOUBTED / len(_PRIOR_SCORES)
        return (
            np.array([*scores, *_PRIOR_SCORES]),
            np.array([*weights, *[prior] * len(_PRIOR_SCORES)]),
        )


def _right(z: Floats, size: int, z_known: Floats, weights: Floats) -> Floats:
    """Probability that a doubted label is right, float (d,): falls with its score, isotonic.

    At each score: right labels to be expected over labels there are. The share of right labels in
    the batch, which the expected ones depend on, is a fixed point.

    Args:
        z: float (d,), scores of the doubted labels of a batch.
        size: of the batch, doubted or not.
        z_known: float (m,), scores of doubted right labels.
        weights: float (m,), how many of the batch each stands for, if all of it were right.
    """
    levels, at, counts = np.unique(z, return_inverse=True, return_counts=True)  # (l,), (d,), (l,)
    places = np.minimum(np.searchsorted(levels, z_known), len(levels) - 1)
    expected = np.bincount(places, weights, len(levels)) / counts  # (l,)
    share = 0.9
    for _ in range(_ROUNDS):
        right: Floats = np.minimum(1.0, _falling(share * expected, counts))[at]  # (d,)
        before, share = share, max(_LEAST_RIGHT, 1 - float((1 - right).sum()) / size)
        if abs(share - before) < 1e-4:
            break
    return right


def _falling(values: Floats, weights: NDArray[np.int64]) -> Floats:
    """Weighted least-squares fit that never rises, by pool-adjacent-violators."""
    blocks: list[tuple[float, int, int]] = []  # (mean, weight, length)
    for value, count in zip(values.tolist(), weights.tolist(), strict=True):
        mean, weight, length = value, count, 1
        while blocks and blocks[-1][0] < mean:
            before, more, longer = blocks.pop()
            mean = (mean * weight + before * more) / (weight + more)
            weight, length = weight + more, length + longer
        blocks.append((mean, weight, length))
    return np.concatenate([np.full(length, mean) for mean, _, length in blocks])


def _prior_factor(sample: Sample, believed: Believed) -> float:
    """Odds of being wrong of labels given in this way, over those of the usual label.

    A voice's error rate was estimated by the same scores, this label's among them. So it raises the
    odds only as far as it is surely above the usual.
    """
    if (sample.provenance.get("blind") or {}).get("intent") == sample.intent:
        return _BLIND_FACTOR
    error_rate = believed.surely_wrong_of(sample)
    if error_rate is None:
        return 1.0
    usual = min(0.99, max(0.01, believed.raters.usual))
    return error_rate / max(1e-6, 1 - error_rate) * (1 - usual) / usual
