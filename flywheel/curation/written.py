"""Additional rules for a teacher's samples: verification, copies, script, paraphrases, intent.

Pure. The paraphrase rules use cosine similarities in the frozen base's embedding, which the
cross-fit job computes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from flywheel.content import same_arguments
from flywheel.curation.raters import NoiseScore
from flywheel.curation.screening import Curated
from flywheel.records import Refusal, Sample
from flywheel.scripts import around_names, fits, script, scripts, word_set

_TOO_SHORT = 2  # words; so few occur in many texts by chance


def verified(samples: Sequence[Sample]) -> Curated:
    """Refuse a teacher's sample whose blind label differs or is missing.

    `provenance["blind"]` holds the answer to the blind question: {"intent", "arguments"}. A
    sample without that key was not verified and passes.

    Reasons: `verification` (another label), `unverified` (no usable answer).
    """
    accepted: list[Sample] = []
    refused: list[Refusal] = []
    for sample in samples:
        doubt = _doubt(sample)
        if doubt is None:
            accepted.append(sample)
        else:
            refused.append(Refusal(sample=sample, reason=doubt[0], detail=doubt[1]))
    return Curated(kept=tuple(accepted), refused=tuple(refused))


def copied(
    samples: Sequence[Sample], shown: Mapping[str, Collection[str]], share: float
) -> Curated:
    """Refuse a teacher's sample that repeats a production text of its brief.

    Such a text teaches nothing new. The rule also stops instructions in production text from
    dictating samples.

    Reason: `copied`.

    Args:
        samples: those of other origins pass.
        shown: failed texts by brief id.
        share: threshold: share of the sample's words that one shown text has, 0..1.
    """
    accepted: list[Sample] = []
    refused: list[Refusal] = []
    for sample in samples:
        overlap = stands_in(sample.text, shown.get(str(sample.provenance.get("brief")), ()))
        if sample.origin == "teacher" and overlap >= share:
            detail = f"{overlap:.2f} of its words stand in a failed text that was shown"
            refused.append(Refusal(sample=sample, reason="copied", detail=detail))
        else:
            accepted.append(sample)
    return Curated(kept=tuple(accepted), refused=tuple(refused))


def stands_in(text: str, shown: Collection[str]) -> float:
    """Return the largest share of the text's words that one of the shown texts has, 0..1.

    0 for a text of one or two words, which many texts contain by chance.
    """
    words = word_set(text)
    if len(words) <= _TOO_SHORT:
        return 0.0
    return max((len(words & word_set(other)) / len(words) for other in shown), default=0.0)


def _doubt(sample: Sample) -> tuple[str, str] | None:
    """(reason, detail) of a refusal by the blind question; None where it confirms the label."""
    if sample.origin != "teacher" or "blind" not in sample.provenance:
        return None
    blind = sample.provenance["blind"] or {}
    if not blind.get("intent"):
        return "unverified", "the second question has no usable answer"
    if blind["intent"] != sample.intent:
        return "verification", f"asked without the label: {blind['intent']}"
    arguments = blind.get("arguments")
    if (
        arguments is not None
        and sample.arguments
        and not same_arguments(arguments, sample.arguments)
    ):
        return "verification", "asked without the label: other arguments"
    return None


_MIN_TEXTS = 3  # texts of an intent; with fewer, the scripts of all intents are used


def of_known_script(samples: Sequence[Sample], shown: Mapping[str, Collection[str]]) -> Curated:
    """Refuse a teacher's sample that has no script of the intent's own texts.

    Own texts are samples of other origins and the production texts in the brief. Simplified and
    traditional Chinese are two scripts, so an intent whose texts have one is not taught the other.
    Names in Latin letters may stand in any text.

    Reason: `language`.

    Args:
        samples: those of other origins pass; they are the reference.
        shown: failed texts by brief id.
    """
    scripts_of: dict[str, set[str]] = defaultdict(set)
    counts: Counter[str] = Counter()
    for sample in samples:
        if sample.origin != "teacher" and (found := scripts(sample.text)):
            scripts_of[sample.intent] |= found
            counts[sample.intent] += 1
    everywhere = set().union(*scripts_of.values()) if scripts_of else set[str]()
    accepted: list[Sample] = []
    refused: list[Refusal] = []
    for sample in samples:
        text = sample.text if sample.origin == "teacher" else ""
        own = {script(text), around_names(text)} - {""}
        expected = scripts_of[sample.intent] if counts[sample.intent] >= _MIN_TEXTS else everywhere
        expected = expected.union(*map(scripts, shown.get(_brief(sample), ())))
        if own and expected and not any(fits(each, expected) for each in own):
            detail = (
                f"written in {script(text)}; the intent's own texts are in "
                f"{', '.join(sorted(expected))}"
            )
            refused.append(Refusal(sample=sample, reason="language", detail=detail))
        else:
            accepted.append(sample)
    return Curated(kept=tuple(accepted), refused=tuple(refused))


def _brief(sample: Sample) -> str:
    return str(sample.provenance.get("brief"))


# Paraphrases and collapsed batches. A batch is what a teacher wrote for one intent in one turn.

_FLOOR = 0.85  # smallest cosine that the cross-fit reports; other pairs count as this near
_MIN_BATCH = 8  # samples; smaller batches are never called collapsed
_COLLAPSED = 0.93  # median cosine to the nearest of the batch; 15 real texts of an intent have less


@dataclass(frozen=True, slots=True, kw_only=True)
class Alike:
    """A teacher's sample and a near sample of the same intent."""

    id: str
    other: str  # sample id
    cosine: float  # up to 1


def without_paraphrases(
    samples: Sequence[Sample], pairs: Sequence[Alike], cosine: float, turn: str
) -> Curated:
    """Refuse a teacher's sample that paraphrases an accepted sample of its intent.

    A batch whose texts are nearly all alike has collapsed; for it the threshold is lower.

    Reasons: `paraphrase`, `collapsed`.

    Args:
        samples: those of other origins are never refused. Of a teacher's samples the first stays,
            and one of an earlier turn stays before one of this turn.
        pairs: at least all pairs with this `cosine` or more.
        cosine: threshold of a paraphrase, up to 1.
        turn: the current turn, whose samples are checked last.
    """
    neighbours = _by_id(pairs)
    written = [sample for sample in samples if sample.origin == "teacher"]
    sizes = Counter(map(_batch, written))
    collapsed = {
        batch
        for batch, value in _nearness(samples, neighbours).items()
        if value >= _COLLAPSED and sizes[batch] >= _MIN_BATCH
    }
    accepted = {sample.id for sample in samples if sample.origin != "teacher"}
    refused: dict[str, Refusal] = {}
    for sample in sorted(written, key=lambda sample: sample.provenance.get("turn") == turn):
        nearest = max(
            (pair for pair in neighbours[sample.id] if pair.other in accepted),
            key=lambda pair: (pair.cosine, pair.other),
            default=None,
        )
        bar = min(cosine, _COLLAPSED) if _batch(sample) in collapsed else cosine
        if nearest is None or nearest.cosine < bar:
            accepted.add(sample.id)
            continue
        reason = "paraphrase" if nearest.cosine >= cosine else "collapsed"
        detail = f"cosine {nearest.cosine:.2f} to {nearest.other}"
        refused[sample.id] = Refusal(sample=sample, reason=reason, detail=detail)
    return Curated(
        kept=tuple(sample for sample in samples if sample.id not in refused),
        refused=tuple(refused[s.id] for s in samples if s.id in refused),
    )


def spread(samples: Sequence[Sample], pairs: Sequence[Alike], turn: str) -> dict[str, float]:
    """Return the diversity of each intent's batch of a turn: 1 minus the median cosine of each
    sample to the nearest other. At most .15, since pairs below .85 are not reported.
    """
    nearness = _nearness(samples, _by_id(pairs))
    return {
        intent: 1 - value for (intent, batch_turn), value in nearness.items() if batch_turn == turn
    }


def _by_id(pairs: Sequence[Alike]) -> dict[str, list[Alike]]:
    by_id: dict[str, list[Alike]] = defaultdict(list)
    for pair in pairs:
        by_id[pair.id].append(pair)
    return by_id


def _batch(sample: Sample) -> tuple[str, str]:
    return sample.intent, str(sample.provenance.get("turn"))


def _nearness(
    samples: Sequence[Sample], neighbours: Mapping[str, Sequence[Alike]]
) -> dict[tuple[str, str], float]:
    """By batch (intent, turn): median over its samples of the cosine to the nearest other."""
    batches: dict[tuple[str, str], list[str]] = defaultdict(list)
    for sample in samples:
        if sample.origin == "teacher":
            batches[_batch(sample)].append(sample.id)
    medians = {}
    for batch, ids in batches.items():
        if len(ids) > 1:
            members = set(ids)
            nearest = [
                max((p.cosine for p in neighbours.get(i, ()) if p.other in members), default=_FLOOR)
                for i in ids
            ]
            medians[batch] = median(nearest)
    return medians


def in_their_neighbourhood(samples: Sequence[Sample], scores: Mapping[str, NoiseScore]) -> Curated:
    """Refuse an unverified teacher's sample that no neighbour supports and another intent fits.

    Samples that were asked the blind question pass: a failing intent needs texts far from those
    it has.

    Reason: `neighbourhood`.
    """
    accepted: list[Sample] = []
    refused: list[Refusal] = []
    for sample in samples:
        score = scores.get(sample.id)
        unverified = sample.origin == "teacher" and "blind" not in sample.provenance
        if not unverified or score is None or score.agree or score.odds <= 1:
            accepted.append(sample)
        else:
            fits = f"{score.top} fits {score.odds:.0f} times better"
            detail = f"none of the nearest has its intent; {fits}"
            refused.append(Refusal(sample=sample, reason="neighbourhood", detail=detail))
    return Curated(kept=tuple(accepted), refused=tuple(refused))
