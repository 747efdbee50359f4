"""Is what comes in what was meant? Unknown names, and answers that are nearly all alike. Pure.

A router whose calls are not understood, or whose names are spelt otherwise, looks like a router
that never calls anything. Nobody sees that in error rates, so it is said in words.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from shlex import quote

from flywheel.lineage import current_names, parted
from flywheel.metrics import Tallies, wilson
from flywheel.records import NONE, Intent

_LEAST = 50  # predictions below which shares say nothing
_UNUSUAL = 0.60  # share of `none`, by the lower end of its interval
_PER_INTENT = 20  # predictions an intent after which one that never occurs is worth a word


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownName:
    """A name of an intent in predictions or feedback that is not among the intents."""

    intent: str
    predictions: int
    feedback: int  # labelled predictions that concern it
    nearest: str | None  # the known intent that it may mean


def unknown_names(tallies: Tallies, intents: Sequence[Intent]) -> tuple[UnknownName, ...]:
    """Return the names that are no intent and none's former name, the most frequent first."""
    known = {NONE, *(intent.name for intent in intents), *current_names(intents), *parted(intents)}
    feedback: dict[str, int] = {}
    for pair in tallies.pairs:
        for name in {pair.predicted, pair.truth} - known:
            if name is not None:
                feedback[name] = feedback.get(name, 0) + pair.count
    names = (tallies.volume.keys() | feedback.keys()) - known
    listed = [
        UnknownName(
            intent=name,
            predictions=tallies.volume.get(name, 0),
            feedback=feedback.get(name, 0),
            nearest=nearest(name, [intent.name for intent in intents]),
        )
        for name in names
    ]
    return tuple(sorted(listed, key=lambda one: (-one.predictions - one.feedback, one.intent)))


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


def none_share(tallies: Tallies) -> float | None:
    """Return the share of predictions without a call; None without predictions."""
    total = sum(tallies.volume.values())
    return tallies.volume.get(NONE, 0) / total if total else None


def input_problems(
    tallies: Tallies, intents: Sequence[Intent], usual_none: float | None = None
) -> list[str]:
    """Say what is unusual of the predictions of a window, each with what to do.

    Args:
        tallies: of the window.
        intents: as configured.
        usual_none: share of `none` among golden samples; None where there are none.
    """
    return [
        *_unknown(tallies, intents),
        *_nearly_none(tallies, usual_none),
        *_silent(tallies, intents),
    ]


def _unknown(tallies: Tallies, intents: Sequence[Intent]) -> list[str]:
    return [
        f"{one.predictions} predictions and {one.feedback} labels name `{one.intent}`, which is no "
        f"intent: `flywheel intents alias {quote(one.intent)} {one.nearest or 'NEW'}`"
        for one in unknown_names(tallies, intents)[:3]
    ]


def _nearly_none(tallies: Tallies, usual_none: float | None) -> list[str]:
    total = sum(tallies.volume.values())
    share = none_share(tallies)
    if share is None or total < _LEAST:
        return []
    low, _ = wilson(tallies.volume.get(NONE, 0), total, 0.95)
    if low <= max(_UNUSUAL, 1.5 * (usual_none or 0.0)):
        return []
    return [
        f"{share:.0%} of {total} recent predictions call nothing (`none`): is the router's answer "
        "understood? `flywheel rejected list` and docs/reference/events.md"
    ]


def _silent(tallies: Tallies, intents: Sequence[Intent]) -> list[str]:
    total = sum(tallies.volume.values())
    names = current_names(intents)
    seen = {names.get(name, name) for name in tallies.volume}
    never = [intent.name for intent in intents if intent.name not in seen]
    if total < max(_LEAST, _PER_INTENT * len(intents)) or 2 * len(never) <= len(intents):
        return []
    return [
        f"{len(never)} of {len(intents)} intents never occur in {total} recent predictions "
        f"({', '.join(never[:3])} …): are their names those that the router gives?"
    ]


def _words(name: str) -> list[str]:
    """The words of a name, lower case: SetAlarm, set-alarm and "Set Alarm" have the same two."""
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    return [word for word in re.split(r"[\W_]+", spaced.casefold()) if word]
