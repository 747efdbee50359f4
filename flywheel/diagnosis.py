"""Which intents fail in production, what they are confused with, and what should be written.

Pure functions of counts. An intent fails when an interval says so, never a point estimate: with
too few labels to show it, no intent fails.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

from flywheel.config.tables import IntentsTable, SynthesisTable
from flywheel.content import content_id
from flywheel.metrics import Tallies, difference, wilson
from flywheel.records import NONE, Brief, Intent, IntentHealth

Trend = Literal["worse", "better", "flat", "unknown"]

_OUT_OF_SCOPE = Intent(name=NONE, description="Asks for none of the functions: out of scope")
_SHOWN = 10  # accepted samples of an intent, and of its neighbour, shown in a brief


def health(
    tallies: Tallies,
    intents: Sequence[Intent],
    table: IntentsTable,
    *,
    dev: Mapping[str, tuple[int, int]] | None = None,
    earlier: Tallies | None = None,
    recent: Tallies | None = None,
) -> tuple[IntentHealth, ...]:
    """Judge every intent, the worst first: failing ones by errors, then the others by name.

    A labelled prediction concerns an intent when it was predicted or right, so both sides of a
    confusion are seen. An intent fails when the lower bound of its Wilson interval is above
    `table.max_error_rate`, in feedback or on dev. Old names of a renamed or merged intent count
    for the new one.

    Args:
        tallies: production over the whole window.
        intents: as configured; `none` is judged too when it occurs.
        table: `max_error_rate`, `confidence`.
        dev: the champion's own evaluation on dev: (examples, errors) by intent.
        earlier, recent: the two parts of the window that the trend compares.
    """
    names = _current_names(intents)
    whole = _Counts(tallies, names)
    before = _Counts(earlier or Tallies(), names)
    after = _Counts(recent or Tallies(), names)
    examined = dict(dev or {})
    judged = [
        _judge(name, whole, _trend(name, before, after, table), examined.get(name, (0, 0)), table)
        for name in _judged_names(intents, whole, examined)
    ]
    return tuple(sorted(judged, key=_worst_first))


def briefs(
    found: Sequence[IntentHealth],
    intents: Sequence[Intent],
    failed: Mapping[str, Sequence[str]],
    examples: Mapping[str, Sequence[str]],
    table: SynthesisTable,
) -> tuple[Brief, ...]:
    """Write one brief for each failing intent, most errors first, within `table.max_samples`.

    Args:
        found: as `health` gave it.
        intents: as configured; a failing intent that is not among them gets no brief.
        failed: production texts an intent failed on, newest first.
        examples: accepted samples by intent.
        table: `per_intent` and `max_samples` wanted, `failed_texts` shown.
    """
    known = {intent.name: intent for intent in (*intents, _OUT_OF_SCOPE)}
    left = table.max_samples
    written = []
    for item in sorted((item for item in found if item.failing), key=_worst_first):
        ask = min(table.per_intent, left)
        if item.intent not in known or ask <= 0:
            continue
        left -= ask
        written.append(_brief(item, known, failed, examples, table.failed_texts, ask))
    return tuple(written)


class _Counts:
    """Labelled predictions and errors by intent, under the names of today."""

    def __init__(self, tallies: Tallies, names: Mapping[str, str]) -> None:
        self.volume: Counter[str] = Counter()
        self.feedback: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.confused: dict[str, Counter[str]] = {}
        for name, count in tallies.volume.items():
            self.volume[names.get(name, name)] += count
        for pair in tallies.pairs:
            predicted = names.get(pair.predicted, pair.predicted)
            truth = None if pair.truth is None else names.get(pair.truth, pair.truth)
            merged = predicted == truth and pair.predicted != pair.truth
            self._add(predicted, truth, pair.correct or merged, pair.count)

    def _add(self, predicted: str, truth: str | None, correct: bool, count: int) -> None:
        for name in {predicted, truth} - {None}:
            assert name is not None
            self.feedback[name] += count
            self.errors[name] += 0 if correct else count
        if not correct and truth is not None and truth != predicted:
            self.confused.setdefault(predicted, Counter())[truth] += count
            self.confused.setdefault(truth, Counter())[predicted] += count


def _current_names(intents: Sequence[Intent]) -> dict[str, str]:
    """Old name -> name of today, unless the old one is in use again."""
    today = {intent.name for intent in intents}
    return {
        old: intent.name
        for intent in intents
        for old in (*intent.renamed_from, *intent.merged_from)
        if old not in today
    }


def _judged_names(
    intents: Sequence[Intent], whole: _Counts, dev: Mapping[str, tuple[int, int]]
) -> list[str]:
    names = [intent.name for intent in intents]
    if NONE not in names and (whole.volume[NONE] or whole.feedback[NONE] or NONE in dev):
        names.append(NONE)
    return names


def _judge(
    name: str, whole: _Counts, trend: Trend, dev: tuple[int, int], table: IntentsTable
) -> IntentHealth:
    n, errors = whole.feedback[name], whole.errors[name]
    dev_n, dev_errors = dev
    low, high = wilson(errors, n, table.confidence)
    dev_low, _ = wilson(dev_errors, dev_n, table.confidence)
    confused = whole.confused.get(name, Counter())
    return IntentHealth(
        intent=name,
        predictions=whole.volume[name],
        feedback=n,
        errors=errors,
        error_rate=errors / n if n else None,
        low=low,
        high=high,
        failing=max(low, dev_low) > table.max_error_rate,
        confused_with=tuple(sorted(confused.items(), key=lambda pair: (-pair[1], pair[0]))),
        trend=trend,
        dev_n=dev_n,
        dev_errors=dev_errors,
    )


def _trend(name: str, before: _Counts, after: _Counts, table: IntentsTable) -> Trend:
    """By Newcombe's interval of the change: flat only when it excludes a change as large as the
    bar itself; too few labels for that say nothing.
    """
    low, high = difference(
        before.errors[name],
        before.feedback[name],
        after.errors[name],
        after.feedback[name],
        table.confidence,
    )
    if low > 0:
        return "worse"
    if high < 0:
        return "better"
    return "flat" if max(-low, high) < table.max_error_rate else "unknown"


def _worst_first(item: IntentHealth) -> tuple[bool, int, str]:
    errors = item.errors + item.dev_errors if item.failing else 0
    return not item.failing, -errors, item.intent


def _brief(
    item: IntentHealth,
    known: Mapping[str, Intent],
    failed: Mapping[str, Sequence[str]],
    examples: Mapping[str, Sequence[str]],
    failed_texts: int,
    ask: int,
) -> Brief:
    neighbours = [name for name, _ in item.confused_with if name in known]
    neighbour = known[neighbours[0]] if neighbours else None
    shown = tuple(failed.get(item.intent, ())[:failed_texts])
    accepted = tuple(examples.get(item.intent, ())[:_SHOWN])
    contrast = tuple(examples.get(neighbour.name, ())[:_SHOWN]) if neighbour else ()
    why = _why(item)
    described = [
        {"name": intent.name, "description": intent.description, "parameters": intent.parameters}
        for intent in (known[item.intent], neighbour)
        if intent is not None
    ]
    return Brief(
        id=content_id("b", [described, shown, accepted, contrast, ask, why]),
        intent=known[item.intent],
        neighbour=neighbour,
        failed_texts=shown,
        examples=accepted,
        contrast=contrast,
        ask=ask,
        why=why,
    )


def _why(item: IntentHealth) -> str:
    """One sentence with the numbers, from production where there are any."""
    parts = []
    if item.error_rate is not None and item.errors:
        parts.append(
            f"wrong in {item.errors} of {item.feedback} labelled predictions "
            f"({item.error_rate:.0%}, at least {item.low:.0%})"
        )
    if item.dev_errors:
        parts.append(f"wrong in {item.dev_errors} of {item.dev_n} dev examples")
    confused = (
        f", most often confused with {item.confused_with[0][0]}" if item.confused_with else ""
    )
    return f"{item.intent} is {' and '.join(parts)}{confused}."
