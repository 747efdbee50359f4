"""What a teacher's samples must pass besides: the blind question, and not being a copy.

Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from flywheel.content import same_arguments
from flywheel.curation.screening import Curated
from flywheel.curation.text import word_set
from flywheel.records import Refusal, Sample

_SHORT = 2  # words; so few stand in many texts by chance


def verified(samples: Sequence[Sample]) -> Curated:
    """Refuse a teacher's sample whose blind label is another one, or is missing.

    `provenance["blind"]` is what the second, label-free question was answered with: {"intent",
    "arguments"}. A sample without that key was never asked about and passes.

    Reasons: `verification` (another label), `unverified` (asked about, no usable answer).
    """
    kept: list[Sample] = []
    refused: list[Refusal] = []
    for sample in samples:
        doubt = _doubt(sample)
        if doubt is None:
            kept.append(sample)
        else:
            refused.append(Refusal(sample=sample, reason=doubt[0], detail=doubt[1]))
    return Curated(kept=tuple(kept), refused=tuple(refused))


def copied(
    samples: Sequence[Sample], shown: Mapping[str, Collection[str]], share: float
) -> Curated:
    """Refuse a teacher's sample whose words stand in one production text that it was shown.

    Such a text teaches nothing new; and a sentence that production text dictates is no sample.

    Reason: `copied`.

    Args:
        samples: those of other origins pass.
        shown: by brief id, the failed texts in it.
        share: of the sample's words, 0..1.
    """
    kept: list[Sample] = []
    refused: list[Refusal] = []
    for sample in samples:
        most = stands_in(sample.text, shown.get(str(sample.provenance.get("brief")), ()))
        if sample.origin == "teacher" and most >= share:
            detail = f"{most:.2f} of its words stand in a failed text that was shown"
            refused.append(Refusal(sample=sample, reason="copied", detail=detail))
        else:
            kept.append(sample)
    return Curated(kept=tuple(kept), refused=tuple(refused))


def stands_in(text: str, shown: Collection[str]) -> float:
    """Return the largest share of the text's words that one of the shown texts has, 0..1.

    0 for a text of one or two words, which stand in many texts by chance.
    """
    own = word_set(text)
    if len(own) <= _SHORT:
        return 0.0
    return max((len(own & word_set(each)) / len(own) for each in shown), default=0.0)


def _doubt(sample: Sample) -> tuple[str, str] | None:
    if sample.origin != "teacher" or "blind" not in sample.provenance:
        return None
    blind = sample.provenance["blind"] or {}
    if not blind.get("intent"):
        return "unverified", "the second question has no usable answer"
    if blind["intent"] != sample.intent:
        return "verification", f"asked without the label: {blind['intent']}"
    told = blind.get("arguments")
    if told is not None and sample.arguments and not same_arguments(told, sample.arguments):
        return "verification", "asked without the label: other arguments"
    return None
