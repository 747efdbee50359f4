"""Renamed, merged, split and misspelt intents: which current intent a name means. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from flywheel.records import Intent, Sample


def current_names(intents: Sequence[Intent]) -> dict[str, str]:
    """Map each former name to the current one, unless the former name is in use again."""
    today = {intent.name for intent in intents}
    return {
        former: intent.name
        for intent in intents
        for former in (*intent.renamed_from, *intent.merged_from)
        if former not in today
    }


def former_names(intents: Sequence[Intent]) -> dict[str, tuple[str, ...]]:
    """Map each current name to its former ones."""
    former: dict[str, tuple[str, ...]] = {}
    for former_name, name in current_names(intents).items():
        former[name] = (*former.get(name, ()), former_name)
    return former


def parted(intents: Sequence[Intent]) -> dict[str, tuple[str, ...]]:
    """Map the name of a split intent to its parts; a label with that name may mean any of them."""
    today = {intent.name for intent in intents} | set(current_names(intents))
    parts: dict[str, tuple[str, ...]] = {}
    for intent in intents:
        for former in intent.split_from:
            if former not in today:
                parts[former] = (*parts.get(former, ()), intent.name)
    return parts


def under_names(samples: Iterable[Sample], intents: Sequence[Intent]) -> list[Sample]:
    """Return the samples with current intent names; each keeps its stored id."""
    names = current_names(intents)
    return [
        replace(sample, intent=names[sample.intent]) if sample.intent in names else sample
        for sample in samples
    ]


def judging(samples: Iterable[Sample], intents: Sequence[Intent]) -> list[Sample]:
    """Return `under_names` without samples of split intents: their true part is not known."""
    split = parted(intents)
    return [sample for sample in under_names(samples, intents) if sample.intent not in split]


def nearest(name: str, known: Sequence[str]) -> str | None:
    """Return the known name that `name` is most probably meant to be; None: none is like it.

    >>> nearest("SetAlarm", ["set_timer", "set_alarm"])
    'set_alarm'
    """
    by_words = {"_".join(_words(each)): each for each in known}
    asked = _words(name)
    if (exact := by_words.get("_".join(asked))) is not None:
        return exact
    near = difflib.get_close_matches("_".join(asked), by_words, 1, 0.6)
    if near:
        return by_words[near[0]]
    shared = {each: len(set(asked) & set(_words(each))) for each in known}
    best = max(known, key=lambda each: shared[each], default=None)
    return best if best is not None and shared[best] else None


def _words(name: str) -> list[str]:
    """The words of a name, lower case: SetAlarm, set-alarm and "Set Alarm" have the same two."""
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    return [word for word in re.split(r"[\W_]+", spaced.casefold()) if word]
