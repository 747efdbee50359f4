"""Old feedback weighs less: what people say, and what they mean by it, changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from flywheel.curation.text import normalise
from flywheel.records import Sample

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
