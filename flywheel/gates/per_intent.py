"""G4: each intent shows that it did not lose the margin, or says how many labels would.

Since every intent must pass, none needs a correction for their number (an intersection-union
test); harm is shown at level .05 over all of them.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from flywheel.config.tables import IntentsRule
from flywheel.gates.units import Kept, Units, kept, pair
from flywheel.lineage import current_names
from flywheel.metrics import DECISIVE_E, resolvable_margin
from flywheel.records import NONE, GateResult, Intent, IntentVerdict, Outcome

_SHOWN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentsJudged:
    """The gate's word, each intent's line, and the labels that would decide the rest."""

    result: GateResult
    lines: tuple[IntentVerdict, ...]
    labels_wanted: Mapping[str, int] = field(default_factory=dict)
    capped: tuple[str, ...] = ()


def intents(
    rows: Iterable[Outcome],
    known: Sequence[Intent],
    rule: IntentsRule,
    asked: Mapping[str, int],
) -> IntentsJudged:
    """Judge every known intent and every intent that occurs in the rows.

    An intent without rows is INCONCLUSIVE, and so is one that is not known or of which a row
    lacks an answer. Rows under a former name count for the intent that took it over.

    Args:
        rows: golden rows, bought ones included.
        known: the intents in force; `none` is judged where rows have it.
        rule: `[gates.intents]`.
        asked: labels bought in this turn already, by intent.
    """
    by_name = {intent.name: intent for intent in known}
    grouped = _grouped(rows, by_name)
    lines, stuck = [], []
    for name in sorted(grouped):
        intent = by_name.get(name)
        margin = rule.critical_margin if intent and intent.critical else rule.margin
        units = pair(grouped[name])
        judged = kept(units, margin, len(grouped))
        unknown = intent is None and name != NONE
        lines.append(_line(name, grouped[name], units, judged, unknown=unknown))
        if unknown or units.missing:
            stuck.append(_why_stuck(name, units))
    wanted, capped = _allocate(lines, rule, asked)
    if stuck or capped:
        wanted = {}  # labels for the others could not promote this challenger
    return IntentsJudged(
        result=_result(lines, stuck, rule),
        lines=tuple(lines),
        labels_wanted=wanted,
        capped=capped,
    )


def _grouped(rows: Iterable[Outcome], by_name: Mapping[str, Intent]) -> dict[str, list[Outcome]]:
    former = current_names(tuple(by_name.values()))
    grouped: dict[str, list[Outcome]] = {name: [] for name in by_name}
    for row in rows:
        grouped.setdefault(former.get(row.intent, row.intent), []).append(row)
    return grouped


def _line(
    name: str, rows: Sequence[Outcome], units: Units, judged: Kept, *, unknown: bool
) -> IntentVerdict:
    undecidable = unknown or bool(units.missing)
    line = IntentVerdict(
        intent=name,
        n=units.n,
        champion_recall=_recall([row.champion_correct for row in rows]),
        challenger_recall=_recall([row.challenger_correct for row in rows]),
        losses=units.losses,
        gains=units.gains,
        e_value=judged.e_value,
        f_value=judged.f_value,
        verdict=judged.verdict,
        labels_needed=judged.labels_needed,
    )
    if undecidable and judged.verdict != "FAIL":
        return replace(line, verdict="INCONCLUSIVE", labels_needed=0)
    return line


def _recall(correct: Sequence[bool | None]) -> float | None:
    answered = [value for value in correct if value is not None]
    return sum(answered) / len(answered) if answered else None


def _why_stuck(name: str, units: Units) -> str:
    if units.missing:
        return f"{name} ({units.missing} rows without both answers)"
    return f"{name} (not among the intents)"


def _allocate(
    lines: Sequence[IntentVerdict], rule: IntentsRule, asked: Mapping[str, int]
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Share the turn's labels out, cheapest intent first, within both caps."""
    left = rule.max_labels_per_turn - sum(asked.values())
    wanted: dict[str, int] = {}
    capped: list[str] = []
    undecided = [line for line in lines if line.labels_needed]
    for line in sorted(undecided, key=lambda line: (line.labels_needed, line.intent)):
        room = rule.max_labels_per_intent - asked.get(line.intent, 0)
        if room <= 0 or (left <= 0 and not wanted):
            capped.append(line.intent)
        elif left > 0:
            wanted[line.intent] = min(line.labels_needed, room, left)
            left -= wanted[line.intent]
    return wanted, tuple(capped)


def _result(lines: Sequence[IntentVerdict], stuck: Sequence[str], rule: IntentsRule) -> GateResult:
    failed = [line for line in lines if line.verdict == "FAIL"]
    passed = [line for line in lines if line.verdict == "PASS"]
    undecided = [line for line in lines if line.labels_needed]
    everything = bool(lines) and len(passed) == len(lines)
    effects = [(line.gains - line.losses) / line.n for line in lines if line.n]
    details = [f"{len(passed)} of {len(lines)} intents kept within {100 * rule.margin:.0f} points"]
    if failed:
        details.append("harmed: " + _some([_moved(line) for line in failed]))
    if undecided:
        need = [f"{line.intent} ({line.labels_needed} labels)" for line in undecided]
        details.append("undecided: " + _some(need))
    if stuck:
        details.append("cannot be judged: " + _some(stuck))
    details.append(_resolution(lines))
    return GateResult(
        gate="intents",
        verdict="FAIL" if failed else "PASS" if everything else "INCONCLUSIVE",
        effect=min(effects, default=None),
        value=min((line.e_value for line in lines if line.e_value is not None), default=None),
        threshold=DECISIVE_E,
        n=sum(line.n for line in lines),
        labels_needed=sum(line.labels_needed for line in lines),
        detail="; ".join(details),
    )


def _resolution(lines: Sequence[IntentVerdict]) -> str:
    if not lines:
        return "no intent to judge"
    typical = statistics.median_low([line.n for line in lines])
    margin = resolvable_margin(typical)
    if margin is None:
        return f"{typical} examples an intent resolve no margin"
    return f"{typical} examples an intent resolve a margin of {100 * margin:.0f} points"


def _moved(line: IntentVerdict) -> str:
    return f"{line.intent} ({line.losses} lost, {line.gains} gained of {line.n})"


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
