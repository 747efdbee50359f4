"""Who gave which label, how far they are believed, and how much old feedback weighs.

Pure. A label is as good as the best of those who gave it. Experts are judged like everybody and
are never capped.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from msgspec.structs import replace

from flywheel.curation.noise import NoiseScore
from flywheel.curation.normalize import normalise
from flywheel.curation.screening import TRUSTED, Curated, is_trusted
from flywheel.metrics import Raters, Vote, judge_raters
from flywheel.records import Refusal, Sample

# What a model that did not see a label says of it, as a ratio of likelihoods, wrong to right.
# Over CLINC150 with 10 and 20 % of the labels wrong in four ways, the ratio grew as the odds to
# the power of 1.6, and was .03 where the model would have given the same label.
_FITS, _STEEP, _MOST = 0.04, 1.6, 1000.0
_USUAL = 0.10  # share of wrong labels that `noise_ratio` is meant for
_SAME, _OTHER = 0.02, 50.0  # doubt where a person has answered for the text
_FEW = 5  # samples of an intent that anybody may give

Label = tuple[str, str]  # normal form of a text, intent


@dataclass(frozen=True, slots=True, kw_only=True)
class Believed:
    """The raters behind a set of samples, and how often each is wrong."""

    raters: Raters
    wrong: Mapping[str, float]  # by rater
    voters: Mapping[Label, frozenset[str]]  # "" among them for unknown ones
    experts: frozenset[str]

    def wrong_of(self, sample: Sample) -> float | None:
        """Share of wrong labels of the best who gave this one; None where no rater did."""
        voters = self.voters.get(_label(sample)) if sample.origin == "feedback" else None
        if not voters:
            return None
        return min(self.wrong.get(rater, self.raters.usual) for rater in voters)


def believe(candidates: Sequence[Sample], scores: Mapping[str, NoiseScore]) -> Believed:
    """Judge the raters behind `candidates`.

    Args:
        candidates: all of them, also those refused as repeats or for a conflict: each is a vote.
        scores: of those that a model judged without having seen their label, by sample id.
    """
    given = [sample for sample in candidates if sample.origin == "feedback"]
    voters: dict[Label, set[str]] = defaultdict(set)
    for sample in given:
        voters[_label(sample)].add(str(sample.provenance.get("rater") or ""))
    answered = {normalise(s.text): s.intent for s in candidates if s.origin in TRUSTED}
    odds = {_label(s): scores[s.id].odds for s in candidates if s.id in scores}
    raters = judge_raters(
        [
            Vote(rater=rater, text=text, label=intent, doubt=_doubt(text, intent, answered, odds))
            for (text, intent), by in voters.items()
            for rater in sorted(by)
        ]
    )
    return Believed(
        raters=raters,
        wrong={tally.rater: tally.wrong for tally in raters.known},
        voters={label: frozenset(by) for label, by in voters.items()},
        experts=frozenset(str(s.provenance.get("rater") or "") for s in given if is_trusted(s)),
    )


def bars(samples: Sequence[Sample], believed: Believed) -> dict[str, float]:
    """By sample id, what its `noise_ratio` is multiplied by: less for a rater who errs more.

    It keeps the refused equally likely to be wrong, whoever gave the label.
    """
    found = {}
    for sample in samples:
        wrong = believed.wrong_of(sample)
        if wrong is not None:
            found[sample.id] = ((1 - wrong) / wrong * _USUAL / (1 - _USUAL)) ** (1 / _STEEP)
    return found


def weighed(samples: Sequence[Sample], believed: Believed) -> tuple[Sample, ...]:
    """Let a label weigh less in training by as much as its rater is right less often than most."""
    usual = 1 - believed.raters.usual
    found = []
    for sample in samples:
        wrong = believed.wrong_of(sample)
        share = 1.0 if wrong is None else round(min(1.0, (1 - wrong) / usual), 3)
        found.append(sample if share == 1 else replace(sample, weight=sample.weight * share))
    return tuple(found)


def capped(
    samples: Sequence[Sample], believed: Believed, scores: Mapping[str, NoiseScore], cap: float
) -> Curated:
    """Keep at most a share `cap` of an intent's feedback from any one rater.

    What the model doubts most goes first. A label that two raters gave is neither's alone, and
    the first few samples of an intent are anybody's. With fewer than 1/cap raters not all of them
    could stay below it, so nothing is capped.

    Reason: `rater_cap`.
    """
    own: dict[tuple[str, str], list[Sample]] = defaultdict(list)  # (intent, rater)
    sizes: dict[str, int] = defaultdict(int)
    for sample in samples:
        if sample.origin == "feedback":
            sizes[sample.intent] += 1
            by = believed.voters.get(_label(sample), frozenset()) - believed.experts
            if len(by) == 1 and (rater := next(iter(by))):
                own[sample.intent, rater].append(sample)
    if cap >= 1 or len(believed.wrong) * cap < 1:
        return Curated(kept=tuple(samples), refused=())
    refused: dict[str, Refusal] = {}
    for (intent, rater), given in own.items():
        room = max(_FEW, int(cap * (sizes[intent] - len(given)) / (1 - cap)))
        given.sort(key=lambda one: (scores[one.id].odds if one.id in scores else 1.0, one.id))
        for sample in given[room:]:
            detail = f"{rater} gave {len(given)} of {sizes[intent]} labels of {intent}"
            refused[sample.id] = Refusal(sample=sample, reason="rater_cap", detail=detail)
    return Curated(
        kept=tuple(sample for sample in samples if sample.id not in refused),
        refused=tuple(refused[s.id] for s in samples if s.id in refused),
    )


def _doubt(
    text: str, intent: str, answered: Mapping[str, str], odds: Mapping[Label, float]
) -> float:
    if text in answered:
        return _SAME if answered[text] == intent else _OTHER
    fit = odds.get((text, intent))
    if fit is None:
        return 1.0
    return _FITS if fit <= 1 else float(min(_MOST, fit**_STEEP))


def _label(sample: Sample) -> Label:
    return normalise(sample.text), sample.intent


# Old feedback weighs less: what people say, and what they mean by it, changes.

_LEAST = 0.1
"""Of a label's weight, however old it is: what nobody says any more is not forgotten either."""


def aged(
    samples: Sequence[Sample], said: Sequence[Sample], half_life_days: float
) -> tuple[Sample, ...]:
    """Halve a label's weight for every `half_life_days` that its text was said before the newest.

    Age counts from the newest text and not from today, so that the same samples weigh the same
    on every day, and silence makes nothing old. Only feedback ages; what a person wrote down or
    answers for is a definition. At 0 nothing ages.

    Args:
        samples: to weigh.
        said: all that was said, repetitions included, in `provenance["said_at"]` when (ISO 8601):
            what is said again does not age.
        half_life_days: 0 or more.
    """
    last: dict[tuple[str, str], datetime] = {}
    for one in said:
        when = _when(one)
        if when is not None:
            last[_key(one)] = max(when, last.get(_key(one), when))
    if not half_life_days or not last:
        return tuple(samples)
    newest = max(last.values())
    found = []
    for sample in samples:
        when = last.get(_key(sample)) if sample.origin == "feedback" else None
        days = 0.0 if when is None else (newest - when).total_seconds() / 86_400
        share = round(max(_LEAST, 0.5 ** (days / half_life_days)), 3)
        found.append(sample if share == 1 else replace(sample, weight=sample.weight * share))
    return tuple(found)


def _key(sample: Sample) -> tuple[str, str]:
    return normalise(sample.text), sample.intent


def _when(sample: Sample) -> datetime | None:
    if sample.origin != "feedback" or "said_at" not in sample.provenance:
        return None
    return datetime.fromisoformat(str(sample.provenance["said_at"]))
