"""Does a teacher's sample say anything new, and does it lie where its intent does?

Pure; by cosines in the frozen base's embedding, which the cross-fit brings.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from flywheel.curation.noise import NoiseScore
from flywheel.curation.screening import Curated
from flywheel.records import Refusal, Sample

_LEAST = 0.85  # cosine from which the cross-fit tells pairs; others count as this near
_BATCH = 8  # samples; of fewer, two alike would be half
_COLLAPSED = 0.93  # median cosine to the nearest of the batch; 15 real texts of an intent have less


@dataclass(frozen=True, slots=True, kw_only=True)
class Alike:
    """A teacher's sample and another of its intent that is near it."""

    id: str
    other: str
    cosine: float


def without_paraphrases(
    samples: Sequence[Sample], pairs: Sequence[Alike], cosine: float, turn: str
) -> Curated:
    """Refuse what a teacher wrote where a kept sample of the intent says the same.

    Where most of what it wrote for an intent in one turn is nearly the same, that batch has
    collapsed: of texts as near as that, one is kept.

    Reasons: `paraphrase`, `collapsed`.

    Args:
        samples: those of other origins are never refused; of a teacher's, the first stays, and
            one of an earlier turn before one of this.
        pairs: at least all of `cosine` or more.
        cosine: at which two texts say the same, up to 1.
        turn: the one whose samples are looked at last.
    """
    near = _by_id(pairs)
    written = [sample for sample in samples if sample.origin == "teacher"]
    sizes = Counter(map(_batch, written))
    collapsed = {
        batch
        for batch, value in _nearness(samples, near).items()
        if value >= _COLLAPSED and sizes[batch] >= _BATCH
    }
    there = {sample.id for sample in samples if sample.origin != "teacher"}
    refused: dict[str, Refusal] = {}
    for sample in sorted(written, key=lambda sample: sample.provenance.get("turn") == turn):
        best = max(
            (pair for pair in near[sample.id] if pair.other in there),
            key=lambda pair: (pair.cosine, pair.other),
            default=None,
        )
        bar = min(cosine, _COLLAPSED) if _batch(sample) in collapsed else cosine
        if best is None or best.cosine < bar:
            there.add(sample.id)
            continue
        reason = "paraphrase" if best.cosine >= cosine else "collapsed"
        detail = f"cosine {best.cosine:.2f} to {best.other}"
        refused[sample.id] = Refusal(sample=sample, reason=reason, detail=detail)
    return Curated(
        kept=tuple(sample for sample in samples if sample.id not in refused),
        refused=tuple(refused[s.id] for s in samples if s.id in refused),
    )


def spread(samples: Sequence[Sample], pairs: Sequence[Alike], turn: str) -> dict[str, float]:
    """How different what a teacher wrote for each intent in a turn is, 0..1: 1 less the median
    cosine of each sample to the nearest other. At most .15, since farther pairs are not told.
    """
    found = _nearness(samples, _by_id(pairs))
    return {intent: 1 - value for (intent, of), value in found.items() if of == turn}


def _by_id(pairs: Sequence[Alike]) -> dict[str, list[Alike]]:
    near: dict[str, list[Alike]] = defaultdict(list)
    for pair in pairs:
        near[pair.id].append(pair)
    return near


def _batch(sample: Sample) -> tuple[str, str]:
    return sample.intent, str(sample.provenance.get("turn"))


def _nearness(
    samples: Sequence[Sample], near: Mapping[str, Sequence[Alike]]
) -> dict[tuple[str, str], float]:
    """By intent and turn, the median over what was written of the cosine to the nearest other."""
    written: dict[tuple[str, str], list[str]] = defaultdict(list)
    for sample in samples:
        if sample.origin == "teacher":
            written[_batch(sample)].append(sample.id)
    found = {}
    for batch, ids in written.items():
        if len(ids) > 1:
            own = set(ids)
            nearest = [
                max((p.cosine for p in near.get(i, ()) if p.other in own), default=_LEAST)
                for i in ids
            ]
            found[batch] = median(nearest)
    return found


def in_their_neighbourhood(samples: Sequence[Sample], scores: Mapping[str, NoiseScore]) -> Curated:
    """Refuse what a teacher wrote where no near sample has its intent and another fits better.

    What the blind question vouched for passes: a failing intent needs texts far from those it has.

    Reason: `neighbourhood`.
    """
    kept: list[Sample] = []
    refused: list[Refusal] = []
    for sample in samples:
        score = scores.get(sample.id)
        asked = sample.origin == "teacher" and "blind" not in sample.provenance
        if not asked or score is None or score.agree or score.odds <= 1:
            kept.append(sample)
        else:
            fits = f"{score.top} fits {score.odds:.0f} times better"
            detail = f"none of the nearest has its intent; {fits}"
            refused.append(Refusal(sample=sample, reason="neighbourhood", detail=detail))
    return Curated(kept=tuple(kept), refused=tuple(refused))
