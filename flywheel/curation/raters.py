"""Who gave a label, how far raters are believed, how old labels weigh.

Pure. A label is as good as the best of those who gave it. Raters who work together are one voice
(`curation.voices`) and are judged and capped as one. Experts are judged like everybody and are
never capped. Which labels are likely wrong, `curation.mislabelled` says.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as replace_score
from datetime import datetime

from msgspec.structs import replace

from flywheel.curation.screening import TRUSTED, Curated, is_trusted
from flywheel.curation.voices import UNNAMED, Voices
from flywheel.metrics import Raters, Vote, judge_raters, wilson
from flywheel.metrics.distributions import betainc
from flywheel.records import Refusal, Sample
from flywheel.scripts import normalise


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseScore:
    """Scores of one sample by an out-of-fold model."""

    p_label: float  # probability of the sample's own label, 0..1
    top: str  # the best-fitting intent, relative to the usual confidence of each intent
    p_top: float  # probability of `top`, 0..1
    odds: float  # how many times better `top` fits than the label; 1 when they are the same
    agree: float = 1.0  # share of the nearest samples with its label, teacher samples left out
    anchor: float | None = None  # odds by seeds and people's samples alone; None: they say nothing
    taught: bool = True  # the model had another sample of its label; else the odds are no doubt


# `Vote.doubt` from the odds of an out-of-fold model: likelihood ratio, label wrong to label right.
# Measured on CLINC150 with 10 and 20 % of the labels wrong in four ways: the ratio grew as the odds
# to the power of 1.6, and was .03 where the model would have given the same label.
_AGREEING, _EXPONENT, _MAX_DOUBT = 0.04, 1.6, 1000.0
_CONFIRMED, _CONTRADICTED = 0.02, 50.0  # doubt where a trusted label of the text exists
_UNCAPPED = 5  # samples of an intent that one rater may always give

_MIN_SHARE = 0.1
"""Lowest share of its weight that an old label keeps: rare texts must not be forgotten."""

DOUBTED = 1.5
"""Odds of the model of trusted samples (`NoiseScore.anchor`) above which it doubts a label."""

# Voices that go against trusted samples. Measured on CLINC150 with three seeds an intent, intents
# of one domain and a tenth of the labels wrong: the model of the seeds doubts 15 % of honest
# labels, and nearly all of those that teach a trigger or are meant to harm.
_FALSE_ALARM_RATE = 0.05  # chance that at least one voice like the others is named
_CONTRARY_SHARE, _CONTRARY_RATIO = 0.4, 1.5  # least share of doubted labels; and against the usual
_FEW_LABELS, _MANY_LABELS = 5, 10  # too few to judge a voice; beyond it, one does not count more
_LOWEST_USUAL = 0.05

Label = tuple[str, str]  # normal form of a text, intent


@dataclass(frozen=True, slots=True, kw_only=True)
class Believed:
    """The voices behind a set of samples, and their estimated error rates."""

    raters: Raters  # their names are those of voices
    wrong: Mapping[str, float]  # share of wrong labels by voice, 0..1
    voters: Mapping[Label, frozenset[str]]  # voices of a label; "" is an unknown rater
    experts: frozenset[str]
    contrary: frozenset[str] = frozenset()  # voices far more often against trusted samples
    surely_wrong: Mapping[str, float] = field(
        default_factory=dict
    )  # by voice, of its 95 % interval

    def wrong_of(self, sample: Sample) -> float | None:
        """Error rate of the sample's best voice; None for a sample that is not feedback."""
        return self._of_best(sample, self.wrong)

    def surely_wrong_of(self, sample: Sample) -> float | None:
        """As `wrong_of`, but above the usual rate only as far as 95 % intervals are."""
        return self._of_best(sample, self.surely_wrong)

    def _of_best(self, sample: Sample, rates: Mapping[str, float]) -> float | None:
        voters = self.voters.get(_label(sample)) if sample.origin == "feedback" else None
        if not voters:
            return None
        return min(rates.get(rater, self.raters.usual) for rater in voters)


def believe(
    candidates: Sequence[Sample],
    scores: Mapping[str, NoiseScore],
    voices: Voices = Voices(),  # noqa: B008  a constant
) -> Believed:
    """Estimate the error rates of the voices behind `candidates`.

    Args:
        candidates: all of them, including refused repeats and conflicts: each is a vote.
        scores: out-of-fold scores by sample id.
        voices: of the raters; without them each rater is one.
    """
    feedback = [sample for sample in candidates if sample.origin == "feedback"]
    voters: dict[Label, set[str]] = defaultdict(set)
    for sample in feedback:
        voters[_label(sample)].add(voices.of(sample))
    experts = frozenset(
        voices.of(s) for s in feedback if is_trusted(s) or voices.of(s) in voices.trusted
    )
    answered = {normalise(s.text): s.intent for s in candidates if s.origin in TRUSTED}
    odds = {
        _label(s): scores[s.id].odds for s in candidates if s.id in scores and scores[s.id].taught
    }
    anchors = {_label(s): scores[s.id].anchor for s in candidates if s.id in scores}
    contrary = _contrary(voters, anchors) - experts
    sterner = odds | {
        label: max(odds.get(label, 1.0), anchor)
        for label, anchor in anchors.items()
        if anchor is not None
    }
    raters = judge_raters(
        [
            Vote(
                rater=voice,
                text=text,
                label=intent,
                doubt=_doubt(text, intent, answered, sterner if voice in contrary else odds),
            )
            for (text, intent), voices_of_label in voters.items()
            for voice in sorted(voices_of_label)
        ]
    )
    return Believed(
        raters=raters,
        wrong={tally.rater: tally.wrong for tally in raters.known},
        voters={label: frozenset(of_label) for label, of_label in voters.items()},
        experts=experts,
        contrary=contrary,
        surely_wrong=_surely_wrong(raters),
    )


def _surely_wrong(raters: Raters) -> dict[str, float]:
    """Error rates by voice; above the usual one, the lower end of the 95 % interval."""
    lows = {tally.rater: wilson(tally.errors, tally.votes)[0] for tally in raters.known}
    return {
        tally.rater: min(tally.wrong, max(raters.usual, lows[tally.rater]))
        for tally in raters.known
    }


def _contrary(
    voters: Mapping[Label, set[str]], anchors: Mapping[Label, float | None]
) -> frozenset[str]:
    """Voices whose labels the model of trusted samples doubts far more often than usual.

    The usual share is a mean over labels in which no voice counts for more than ten: those who
    give many labels must not define what is usual. The test is that of `metrics.often_wrong`.
    """
    counts: Counter[str] = Counter()
    doubted: Counter[str] = Counter()
    for label, voices_of_label in voters.items():
        anchor = anchors.get(label)
        if anchor is not None:
            counts.update(voices_of_label)
            doubted.update(voices_of_label if anchor > DOUBTED else ())
    counts.pop(UNNAMED, None)
    weights = {voice: min(count, _MANY_LABELS) for voice, count in counts.items()}
    total = sum(weights.values())
    usual = max(
        _LOWEST_USUAL, sum(w * doubted[v] / counts[v] for v, w in weights.items()) / max(1, total)
    )
    level = _FALSE_ALARM_RATE / max(1, len(counts))
    return frozenset(
        voice
        for voice, count in counts.items()
        if count >= _FEW_LABELS
        and doubted[voice] > max(_CONTRARY_SHARE, _CONTRARY_RATIO * usual) * count
        and betainc(doubted[voice], count - doubted[voice] + 1, min(0.99, usual)) <= level
    )


def contradicted(
    samples: Sequence[Sample], believed: Believed, scores: Mapping[str, NoiseScore]
) -> Curated:
    """Refuse doubted labels that only contrary voices gave.

    The out-of-fold model is no witness here: it learned from the other labels of those voices.

    Reason: `label_noise`.
    """
    refused: dict[str, Refusal] = {}
    for sample in samples:
        score = scores.get(sample.id)
        voters = believed.voters.get(_label(sample), frozenset())
        if sample.origin != "feedback" or score is None or not voters <= believed.contrary:
            continue
        if score.anchor is not None and score.anchor > DOUBTED:
            detail = (
                f"by seeds and people's samples another intent fits {score.anchor:.0f} times "
                "better, as with most labels of whoever gave it"
            )
            refused[sample.id] = Refusal(sample=sample, reason="label_noise", detail=detail)
    return Curated(
        kept=tuple(sample for sample in samples if sample.id not in refused),
        refused=tuple(refused.values()),
    )


def undisturbed(scores: Mapping[str, NoiseScore], believed: Believed) -> Mapping[str, NoiseScore]:
    """Return the scores without doubt in what trusted samples confirm, where voices are contrary.

    The out-of-fold model learned from the contrary labels too, and doubts honest ones for it.
    """
    if not believed.contrary:
        return scores
    return {
        name: replace_score(score, odds=1.0)
        if score.anchor is not None and score.anchor <= 1
        else score
        for name, score in scores.items()
    }


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
    """Refuse feedback of one voice above a share `cap` of an intent's feedback.

    The samples with the largest odds against their label are refused first. Labels that two
    voices gave are not counted, and five samples of an intent are always kept. With fewer than
    1/cap voices nothing is capped, since not all of them could stay below the cap.

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
