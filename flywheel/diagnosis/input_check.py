"""Is what comes in what was meant? Unknown names, and answers that are nearly all alike. Pure.

A router whose calls are not understood, or whose names are spelt otherwise, looks like a router
that never calls anything. Nobody sees that in error rates, so it is said in words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from shlex import quote

from flywheel.lineage import current_names, nearest, parted
from flywheel.metrics import Tallies
from flywheel.records import NONE, Intent

_LEAST = 50  # predictions below which shares say nothing
_UNUSUAL = 0.60  # share of `none`
_ABOVE = 0.10  # of the usual share, that is worth a word
_LONGEST_NAME = 60  # of somebody else's choosing
_PER_INTENT = 20  # predictions an intent after which one that never occurs is worth a word


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownName:
    """A name of an intent in predictions or feedback that is not among the intents."""

    intent: str
    predictions: int
    feedback: int  # labelled predictions that concern it
    labels: int  # of these, whose right intent it is by a rater
    nearest: str | None  # the known intent that it may mean


def unknown_names(tallies: Tallies, intents: Sequence[Intent]) -> tuple[UnknownName, ...]:
    """Return the names that are no intent and none's former name, the most frequent first."""
    known = {NONE, *(intent.name for intent in intents), *current_names(intents), *parted(intents)}
    feedback: dict[str, int] = {}
    labels: dict[str, int] = {}
    for pair in tallies.pairs:
        if pair.truth is not None:
            labels[pair.truth] = labels.get(pair.truth, 0) + pair.count
        for name in {pair.predicted, pair.truth} - known:
            if name is not None:
                feedback[name] = feedback.get(name, 0) + pair.count
    names = (tallies.volume.keys() | feedback.keys()) - known
    listed = [
        UnknownName(
            intent=name,
            predictions=tallies.volume.get(name, 0),
            feedback=feedback.get(name, 0),
            labels=labels.get(name, 0),
            nearest=nearest(name, [intent.name for intent in intents]),
        )
        for name in names
    ]
    return tuple(sorted(listed, key=lambda one: (-one.predictions - one.feedback, one.intent)))


def none_share(tallies: Tallies) -> float | None:
    """Return the share of predictions without a call; None without predictions."""
    total = sum(tallies.volume.values())
    return tallies.volume.get(NONE, 0) / total if total else None


@dataclass(frozen=True, slots=True, kw_only=True)
class InputProblem:
    """What is unusual of the predictions that come in, and what to do about it."""

    what: str
    next_step: str

    def __str__(self) -> str:
        return f"{self.what}: {self.next_step}"


def input_problems(
    tallies: Tallies, intents: Sequence[Intent], usual_none: float | None = None, most: int = 3
) -> list[InputProblem]:
    """Return what is unusual of the predictions of a window.

    Args:
        tallies: of the window.
        intents: as configured.
        usual_none: share of `none` before, or among golden samples; None where nothing says it.
        most: unknown names that are told.
    """
    return [
        *_unknown(tallies, intents, most),
        *_nearly_none(tallies, usual_none),
        *_silent(tallies, intents),
    ]


def unknown_labels(tallies: Tallies, intents: Sequence[Intent], most: int = 3) -> list[str]:
    """Return, in words, the names that raters gave as the right intent and that are none, the most
    frequent first, and what adds or maps them.
    """
    named = [one for one in unknown_names(tallies, intents) if one.labels]
    named.sort(key=lambda one: (-one.labels, one.intent))
    return [f"{_labels_of(one)}: {next_step(one)}" for one in named[:most]]


def next_step(name: UnknownName) -> str:
    """Return what makes an unknown name one: the line that adds it, or the command that maps it."""
    alias = f"flywheel intents alias {quote(name.intent)}"
    if not name.labels:
        known = f"{alias} {name.nearest}"
        return known if name.nearest else f"add it to the intents, or alias it: {alias} NEW"
    line = f"[[intent]] name = {json.dumps(name.intent, ensure_ascii=False)}"
    mapped = f"{alias} {name.nearest or 'NEW'}"
    return f"add it to the intents (intents.toml: {line}), or map it: {mapped}"


def _labels_of(name: UnknownName) -> str:
    labels = "1 label says" if name.labels == 1 else f"{name.labels} labels say"
    return f"{labels} `{name.intent[:_LONGEST_NAME]}`, which is no intent"


def _unknown(tallies: Tallies, intents: Sequence[Intent], most: int) -> Iterator[InputProblem]:
    for one in unknown_names(tallies, intents)[:most]:
        if not one.predictions and one.labels == one.feedback:
            yield InputProblem(what=_labels_of(one), next_step=next_step(one))
            continue
        labels = f" and {one.feedback} labels" if one.feedback else ""
        meant = f"; is {one.nearest} meant?" if one.nearest else ""
        predictions = "1 prediction" if one.predictions == 1 else f"{one.predictions} predictions"
        yield InputProblem(
            what=f"{predictions}{labels} of `{one.intent}`, which is no intent{meant}",
            next_step=next_step(one),
        )


def _nearly_none(tallies: Tallies, usual_none: float | None) -> Iterator[InputProblem]:
    total, share = sum(tallies.volume.values()), none_share(tallies)
    if share is None or total < _LEAST or share <= _UNUSUAL:
        return
    if usual_none is not None and share <= usual_none + _ABOVE:
        return
    usual = "" if usual_none is None else f", {usual_none:.0%} is usual"
    yield InputProblem(
        what=f"{share:.0%} of {total} recent predictions call nothing (`none`){usual}",
        next_step="is the call where it is looked for? see flywheel rejected list",
    )


def _silent(tallies: Tallies, intents: Sequence[Intent]) -> Iterator[InputProblem]:
    total = sum(tallies.volume.values())
    names = current_names(intents)
    seen = {names.get(name, name) for name in tallies.volume}
    never = [intent.name for intent in intents if intent.name not in seen]
    if total < max(_LEAST, _PER_INTENT * len(intents)) or 2 * len(never) <= len(intents):
        return
    shown = ", ".join(never[:3]) + (", …" if len(never) > 3 else "")
    yield InputProblem(
        what=f"{len(never)} of {len(intents)} intents never occur in {total} recent predictions: "
        f"{shown}",
        next_step="are all channels sent, under these names?",
    )
