"""Which labels are likely wrong, who gave them, how far raters are believed, how old labels weigh.

Pure. A label is as good as the best of those who gave it. Experts are judged like everybody and
are never capped.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from msgspec.structs import replace

from flywheel.curation.duplicates import normalise
from flywheel.curation.screening import TRUSTED, Curated, is_trusted
from flywheel.metrics import Raters, Vote, judge_raters
from flywheel.records import Refusal, Sample

# Label noise: refuse labels that an out-of-fold model finds unlikely.
#
# Two errors must be balanced: wrong labels that are learned, and correct labels of a weak intent
# that are refused until too few samples of it are left. Measured on CLINC150, five seeds an
# intent, 2,940 feedback labels with a tenth wrong: refusing at odds of 6 finds 84 % of the wrong
# labels, and 92 % of the refused labels are wrong. The figures in docs/explanation/learning.md
# were measured the same way.


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


# `Vote.doubt` from the odds of an out-of-fold model: likelihood ratio, label wrong to label right.
# Measured on CLINC150 with 10 and 20 % of the labels wrong in four ways: the ratio grew as the odds
# to the power of 1.6, and was .03 where the model would have given the same label.
_AGREEING, _EXPONENT, _MAX_DOUBT = 0.04, 1.6, 1000.0
_NOMINAL_ERROR_RATE = 0.10  # share of wrong labels for which `noise_ratio` is set
_CONFIRMED, _CONTRADICTED = 0.02, 50.0  # doubt where a trusted label of the text exists
_UNCAPPED = 5  # samples of an intent that one rater may always give

_MIN_SHARE = 0.1
"""Lowest share of its weight that an old label keeps: rare texts must not be forgotten."""

Label = tuple[str, str]  # normal form of a text, intent


@dataclass(frozen=True, slots=True, kw_only=True)
class Believed:
    """The raters behind a set of samples, and their estimated error rates."""

    raters: Raters
    wrong: Mapping[str, float]  # share of wrong labels by rater, 0..1
    voters: Mapping[Label, frozenset[str]]  # raters of a label; "" is an unknown rater
    experts: frozenset[str]

    def wrong_of(self, sample: Sample) -> float | None:
        """Error rate of the sample's best rater; None for a sample that is not feedback."""
        voters = self.voters.get(_label(sample)) if sample.origin == "feedback" else None
        if not voters:
            return None
        return min(self.wrong.get(rater, self.raters.usual) for rater in voters)


def believe(candidates: Sequence[Sample], scores: Mapping[str, NoiseScore]) -> Believed:
    """Estimate the error rates of the raters behind `candidates`.

    Args:
        candidates: all of them, including refused repeats and conflicts: each is a vote.
        scores: out-of-fold scores by sample id.
    """
    feedback = [sample for sample in candidates if sample.origin == "feedback"]
    voters: dict[Label, set[str]] = defaultdict(set)
    for sample in feedback:
        voters[_label(sample)].add(str(sample.provenance.get("rater") or ""))
    answered = {normalise(s.text): s.intent for s in candidates if s.origin in TRUSTED}
    odds = {_label(s): scores[s.id].odds for s in candidates if s.id in scores}
    raters = judge_raters(
        [
            Vote(rater=rater, text=text, label=intent, doubt=_doubt(text, intent, answered, odds))
            for (text, intent), raters_of_label in voters.items()
            for rater in sorted(raters_of_label)
        ]
    )
    return Believed(
        raters=raters,
        wrong={tally.rater: tally.wrong for tally in raters.known},
        voters={label: frozenset(raters_of_label) for label, raters_of_label in voters.items()},
        experts=frozenset(str(s.provenance.get("rater") or "") for s in feedback if is_trusted(s)),
    )


def bars(samples: Sequence[Sample], believed: Believed) -> dict[str, float]:
    """Return by sample id a factor for `noise_ratio`: smaller for raters who err more.

    With it, the refused samples are equally likely to be wrong whoever labelled them.
    """
    factors = {}
    for sample in samples:
        error_rate = believed.wrong_of(sample)
        if error_rate is not None:
            factors[sample.id] = (
                (1 - error_rate) / error_rate * _NOMINAL_ERROR_RATE / (1 - _NOMINAL_ERROR_RATE)
            ) ** (1 / _EXPONENT)
    return factors


def weighed(samples: Sequence[Sample], believed: Believed) -> tuple[Sample, ...]:
    """Multiply each weight by the rater's accuracy over the average accuracy, at most 1."""
    average_right = 1 - believed.raters.usual
    result = []
    for sample in samples:
        error_rate = believed.wrong_of(sample)
        share = 1.0 if error_rate is None else round(min(1.0, (1 - error_rate) / average_right), 3)
        result.append(sample if share == 1 else replace(sample, weight=sample.weight * share))
    return tuple(result)


def capped(
    samples: Sequence[Sample], believed: Believed, scores: Mapping[str, NoiseScore], cap: float
) -> Curated:
    """Refuse feedback of one rater above a share `cap` of an intent's feedback.

    The samples with the largest odds against their label are refused first. Labels that two
    raters gave are not counted, and five samples of an intent are always kept. With fewer than
    1/cap raters nothing is capped, since not all of them could stay below the cap.

    Reason: `rater_cap`.
    """
    by_rater: dict[tuple[str, str], list[Sample]] = defaultdict(list)  # (intent, rater)
    sizes: dict[str, int] = defaultdict(int)
    for sample in samples:
        if sample.origin == "feedback":
            sizes[sample.intent] += 1
            raters = believed.voters.get(_label(sample), frozenset()) - believed.experts
            if len(raters) == 1 and (rater := next(iter(raters))):
                by_rater[sample.intent, rater].append(sample)
    if cap >= 1 or len(believed.wrong) * cap < 1:
        return Curated(kept=tuple(samples), refused=())
    refused: dict[str, Refusal] = {}
    for (intent, rater), labelled in by_rater.items():
        room = max(_UNCAPPED, int(cap * (sizes[intent] - len(labelled)) / (1 - cap)))
        labelled.sort(
            key=lambda sample: (scores[sample.id].odds if sample.id in scores else 1.0, sample.id)
        )
        for sample in labelled[room:]:
            detail = f"{rater} gave {len(labelled)} of {sizes[intent]} labels of {intent}"
            refused[sample.id] = Refusal(sample=sample, reason="rater_cap", detail=detail)
    return Curated(
        kept=tuple(sample for sample in samples if sample.id not in refused),
        refused=tuple(refused[s.id] for s in samples if s.id in refused),
    )


def _doubt(
    text: str, intent: str, answered: Mapping[str, str], odds: Mapping[Label, float]
) -> float:
    if text in answered:
        return _CONFIRMED if answered[text] == intent else _CONTRADICTED
    fit = odds.get((text, intent))
    if fit is None:
        return 1.0
    return _AGREEING if fit <= 1 else float(min(_MAX_DOUBT, fit**_EXPONENT))


def _label(sample: Sample) -> Label:
    return normalise(sample.text), sample.intent


def aged(
    samples: Sequence[Sample], said: Sequence[Sample], half_life_days: float
) -> tuple[Sample, ...]:
    """Halve the weight of feedback for every `half_life_days` of age.

    Age is measured from the newest text, not from today: the same samples get the same weights on
    every day. The age of a label is that of its latest repetition. Seeds and people's samples are
    definitions and do not age.

    Args:
        samples: to weigh.
        said: all feedback, repetitions included; `provenance["said_at"]` is its time (ISO 8601).
        half_life_days: 0 or more; 0 turns ageing off.
    """
    newest_of: dict[tuple[str, str], datetime] = {}
    for utterance in said:
        when = _when(utterance)
        if when is not None:
            newest_of[_key(utterance)] = max(when, newest_of.get(_key(utterance), when))
    if not half_life_days or not newest_of:
        return tuple(samples)
    newest = max(newest_of.values())
    result = []
    for sample in samples:
        when = newest_of.get(_key(sample)) if sample.origin == "feedback" else None
        days = 0.0 if when is None else (newest - when).total_seconds() / 86_400
        share = round(max(_MIN_SHARE, 0.5 ** (days / half_life_days)), 3)
        result.append(sample if share == 1 else replace(sample, weight=sample.weight * share))
    return tuple(result)


def _key(sample: Sample) -> tuple[str, str]:
    return normalise(sample.text), sample.intent


def _when(sample: Sample) -> datetime | None:
    if sample.origin != "feedback" or "said_at" not in sample.provenance:
        return None
    return datetime.fromisoformat(str(sample.provenance["said_at"]))
