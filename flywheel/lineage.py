"""Which intent of today a former name means: renamed, merged and split intents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from flywheel.records import Intent, Sample


def current_names(intents: Sequence[Intent]) -> dict[str, str]:
    """Old name -> name of today, unless the old one is in use again."""
    today = {intent.name for intent in intents}
    return {
        old: intent.name
        for intent in intents
        for old in (*intent.renamed_from, *intent.merged_from)
        if old not in today
    }


def former_names(intents: Sequence[Intent]) -> dict[str, tuple[str, ...]]:
    """Name of today -> its old ones."""
    found: dict[str, tuple[str, ...]] = {}
    for old, name in current_names(intents).items():
        found[name] = (*found.get(name, ()), old)
    return found


def parted(intents: Sequence[Intent]) -> dict[str, tuple[str, ...]]:
    """Old name -> the intents that it was split into; what it labelled may be any of them."""
    today = {intent.name for intent in intents} | set(current_names(intents))
    found: dict[str, tuple[str, ...]] = {}
    for intent in intents:
        for old in intent.split_from:
            if old not in today:
                found[old] = (*found.get(old, ()), intent.name)
    return found


def under_names(samples: Iterable[Sample], intents: Sequence[Intent]) -> list[Sample]:
    """The samples under the names of today; each keeps the id it was stored with."""
    names = current_names(intents)
    return [
        replace(sample, intent=names[sample.intent]) if sample.intent in names else sample
        for sample in samples
    ]


def judging(samples: Iterable[Sample], intents: Sequence[Intent]) -> list[Sample]:
    """The same without those of a split intent: nobody said which part, so no answer is right."""
    split = parted(intents)
    return [sample for sample in under_names(samples, intents) if sample.intent not in split]
