"""G4: each intent shows that it did not lose the margin, or says how many labels would.

Since every intent must pass, none needs a correction for their number (an intersection-union
test); harm is shown at level .05 over all of them. Intents of a pool pass with their pool.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from flywheel.config.tables import IntentsRule
from flywheel.gates.pools import Pool, PoolVerdict, judged_together, shared_out, still_to_decide
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
    pools: tuple[PoolVerdict, ...] = ()
    beyond: Mapping[str, int] = field(default_factory=dict)
    # by intent or pool: rows without which nothing decides, where traffic does not offer them


@dataclass(frozen=True, slots=True)
class _Part:
    """What is decided by its own rows: an intent that stands alone, or a pool."""

    name: str
    rows: Mapping[str, int]  # independent rows by intent
    needed: int  # labels that are expected to decide it; 0: decided, or no label would
    fewest: int  # labels below which nothing decides it
    unseen: tuple[str, ...] = ()  # intents without a row, each of which needs one


def intents(
    rows: Iterable[Outcome],
    known: Sequence[Intent],
    rule: IntentsRule,
    asked: Mapping[str, int],
    *,
    pools: Sequence[Pool] = (),
    offered: Mapping[str, int] | None = None,
) -> IntentsJudged:
    """Judge every known intent and every intent that occurs in the rows.

    INCONCLUSIVE is an intent without rows, not known, or of which a row lacks an answer. Rows under
    a former name count for the intent that took it over. One of a pool FAILs where its own rows
    show harm, and passes by them or with its pool.

    Args:
        rows: golden ones, bought ones, and others that neither model has learned.
        known: the intents in force; `none` is judged where rows have it.
        rule: `[gates.intents]`.
        asked: labels bought in this turn already, by intent.
        pools: intents that are judged together, fixed before `rows` were read.
        offered: unlabelled texts that traffic has, by intent; None: nobody counted.
    """
    by_name = {intent.name: intent for intent in known}
    grouped = _grouped(rows, by_name)
    groups = len(grouped) + len(pools)
    together = [judged_together(pool, grouped, groups) for pool in pools]
    told_of_pools = tuple(told for told, _ in together)
    pool_of = {name: told for told in told_of_pools for name in told.intents}
    lines, stuck, parts = [], [], _pool_parts(together, grouped)
    for name in sorted(grouped):
        critical = name in by_name and by_name[name].critical
        units, margin = pair(grouped[name]), rule.margin_of(critical=critical)
        unknown = name not in by_name and name != NONE
        line = _line(name, grouped[name], units, kept(units, margin, groups), unknown=unknown)
        if name in pool_of:
            line = _with_its_pool(line, pool_of[name])
        elif line.labels_needed:
            parts.append(_alone(name, units, margin, line.labels_needed))
        lines.append(line)
        stuck += [_why_stuck(name, units)] if unknown or units.missing else []
    wanted, capped = _allocate(parts, rule, asked, offered)
    return IntentsJudged(
        result=_result(lines, told_of_pools, stuck, rule),
        lines=tuple(lines),
        labels_wanted={} if stuck or capped else wanted,  # the others could not promote it
        capped=capped,
        pools=told_of_pools,
        beyond=_beyond(parts, rule, offered),
    )


def _alone(name: str, units: Units, margin: float, needed: int) -> _Part:
    return _Part(name, {name: units.n}, needed, still_to_decide(units, margin, needed))


def _pool_parts(
    together: Sequence[tuple[PoolVerdict, Units]], grouped: Mapping[str, Sequence[Outcome]]
) -> list[_Part]:
    """The pools that labels may decide."""
    parts = []
    for told, units in together:
        if told.labels_needed:
            counts = {name: pair(grouped.get(name, ())).n for name in told.intents}
            fewest = max(still_to_decide(units, told.margin, told.labels_needed), len(told.unseen))
            parts.append(_Part(told.name, counts, told.labels_needed, fewest, told.unseen))
    return parts


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


def _with_its_pool(line: IntentVerdict, pool: PoolVerdict) -> IntentVerdict:
    """A pooled intent's line: harm that its own rows show stands, and so does a pass."""
    if line.verdict != "INCONCLUSIVE":
        return replace(line, labels_needed=0)
    return replace(line, verdict=pool.verdict, labels_needed=0)


def _allocate(
    parts: Sequence[_Part],
    rule: IntentsRule,
    asked: Mapping[str, int],
    offered: Mapping[str, int] | None,
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Share the turn's labels out, what takes fewest first, within both caps.

    A pool's labels go to its intents with the fewest rows; beyond what traffic offers they are
    still named, since they can be imported.
    """
    left = rule.max_labels_per_turn - sum(asked.values())
    wanted: dict[str, int] = {}
    capped: list[str] = []
    for part in sorted(parts, key=lambda part: (part.needed, part.name)):
        room = {name: max(0, rule.max_labels_per_intent - asked.get(name, 0)) for name in part.rows}
        needed = min(part.needed, sum(room.values()), max(0, left))
        if not any(room.values()) or (left <= 0 and not wanted):
            capped.append(part.name)
            continue
        there = {name: min(room[name], (offered or {}).get(name, 0)) for name in room}
        dealt = shared_out(needed, part.rows, room if offered is None else there)
        rows = {name: count + dealt.get(name, 0) for name, count in part.rows.items()}
        more = {name: room[name] - dealt.get(name, 0) for name in room}
        imported = shared_out(needed - sum(dealt.values()), rows, more)
        for name in part.rows:
            if count := dealt.get(name, 0) + imported.get(name, 0):
                wanted[name] = wanted.get(name, 0) + count
        left -= needed
    return wanted, tuple(capped)


def _beyond(
    parts: Sequence[_Part], rule: IntentsRule, offered: Mapping[str, int] | None
) -> dict[str, int]:
    """How many rows must come from elsewhere, by intent or pool that traffic cannot decide."""
    if offered is None:
        return {}
    found = {}
    for part in parts:
        there = sum(min(offered.get(name, 0), rule.max_labels_per_intent) for name in part.rows)
        blind = sum(not offered.get(name) for name in part.unseen)
        if part.fewest > there or blind:
            found[part.name] = max(part.needed - there, blind)
    return found


def _result(
    lines: Sequence[IntentVerdict],
    pools: Sequence[PoolVerdict],
    stuck: Sequence[str],
    rule: IntentsRule,
) -> GateResult:
    failed = [line for line in lines if line.verdict == "FAIL"]
    lost = [pool for pool in pools if pool.verdict == "FAIL"]
    kept_pools = [pool for pool in pools if pool.verdict == "PASS"]
    passed = [line for line in lines if line.verdict == "PASS"]
    undecided = [line for line in lines if line.labels_needed]
    everything = bool(lines) and len(passed) == len(lines) and len(kept_pools) == len(pools)
    effects = [(line.gains - line.losses) / line.n for line in lines if line.n]
    details = [f"{len(passed)} of {len(lines)} intents kept within {100 * rule.margin:.0f} points"]
    if failed:
        details.append("harmed: " + _some([_moved(line) for line in failed]))
    if lost:
        details.append("harmed together: " + _some([_pooled(pool) for pool in lost]))
    need = [f"{line.intent} ({line.labels_needed} labels)" for line in undecided]
    open_pools = [pool for pool in pools if pool.labels_needed]
    need += [f"{_pooled(pool)} ({pool.labels_needed} labels)" for pool in open_pools]
    if need:
        details.append("undecided: " + _some(need))
    if kept_pools:
        together = [_pooled(pool) for pool in kept_pools]
        details.append("judged together, for too few rows each: " + _some(together))
    if stuck:
        details.append("cannot be judged: " + _some(stuck))
    details.append(_resolution(lines))
    return GateResult(
        gate="intents",
        verdict="FAIL" if failed or lost else "PASS" if everything else "INCONCLUSIVE",
        effect=min(effects, default=None),
        value=min(_deciding(lines, pools), default=None),
        threshold=DECISIVE_E,
        n=sum(line.n for line in lines),
        labels_needed=sum(line.labels_needed for line in lines)
        + sum(pool.labels_needed for pool in pools),
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


def _deciding(lines: Sequence[IntentVerdict], pools: Sequence[PoolVerdict]) -> list[float]:
    """E-values that the verdict rests on: of intents that stand alone, and of pools."""
    pooled = {name for pool in pools for name in pool.intents}
    alone = [line.e_value for line in lines if line.intent not in pooled]
    return [value for value in (*alone, *(pool.e_value for pool in pools)) if value is not None]


def _pooled(pool: PoolVerdict) -> str:
    counts = f"{pool.losses} lost, {pool.gains} gained of {pool.n}"
    return f"{pool.name} ({len(pool.intents)} intents, {counts})"


def _moved(line: IntentVerdict) -> str:
    return f"{line.intent} ({line.losses} lost, {line.gains} gained of {line.n})"


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
