"""Old feedback weighs less: what people say, and what they mean by it, changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from flywheel.records import Sample

_LEAST = 0.1
"""Of a label's weight, however old it is: what nobody says any more is not forgotten either."""


def aged(samples: Sequence[Sample], half_life_days: float) -> tuple[Sample, ...]:
    """Halve a label's weight for every `half_life_days` that its text was said before the newest.

    Age counts from the newest text and not from today, so that the same samples weigh the same
    on every day, and silence makes nothing old. Only feedback ages; what a person wrote down or
    answers for is a definition. At 0 nothing ages.

    Args:
        samples: those of feedback tell in `provenance["said_at"]` when (ISO 8601).
        half_life_days: 0 or more.
    """
    at = [_when(sample) for sample in samples]
    known = [each for each in at if each is not None]
    if not half_life_days or not known:
        return tuple(samples)
    newest = max(known)
    found = []
    for sample, when in zip(samples, at, strict=True):
        days = 0.0 if when is None else (newest - when).total_seconds() / 86_400
        share = round(max(_LEAST, 0.5 ** (days / half_life_days)), 3)
        found.append(sample if share == 1 else replace(sample, weight=sample.weight * share))
    return tuple(found)


def _when(sample: Sample) -> datetime | None:
    if sample.origin != "feedback" or "said_at" not in sample.provenance:
        return None
    return datetime.fromisoformat(str(sample.provenance["said_at"]))
