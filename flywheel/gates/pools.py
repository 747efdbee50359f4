"""Intents too rare to be judged alone, judged together: which ones, and what their rows say.

A pool is made of counts alone, before any outcome is read. Its rows are one sample with one margin:
a pool that passes did not lose that margin on the mix of rows that it was judged on. Of one intent
inside it that says little.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count

from flywheel.config.tables import IntentsRule
from flywheel.gates.units import Kept, Units, kept, pair
from flywheel.metrics import fewest_more, fewest_rows, likely_rows
from flywheel.records import NONE, Intent, Outcome, Verdict

_BARE = re.compile(r"[A-Za-z0-9_-]+")  # a key of TOML that needs no quotes


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Intents that are judged together."""

    name: str
    intents: tuple[str, ...]
    margin: float  # recall that they may not have lost together


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolVerdict:
    """What the rows of a pool say together."""

    name: str
    intents: tuple[str, ...]
    margin: float
    n: int
    losses: int
    gains: int
    e_value: float
    f_value: float
    verdict: Verdict
    labels_needed: int
    unseen: tuple[str, ...] = ()  # without a single row: nothing is known of them


def make_pools(
    rows: Mapping[str, int],
    offered: Mapping[str, int],
    known: Sequence[Intent],
    rule: IntentsRule,
) -> tuple[Pool, ...]:
    """Put the intents that can never be judged alone into pools that can.

    An intent is rare where its golden rows and what traffic offers are fewer than decide without a
    single loss (`fewest_rows`). As many pools are made as get rows for nine in ten unharmed ones to
    pass; each rare intent, the largest first, joins the pool with the fewest rows. Critical intents
    make pools of their own, with their own margin. Groups of the configuration come first. Where no
    intent at all can be judged alone there is no tail, and the golden set is too small: no pools.

    Args:
        rows: independent golden rows by intent, bought ones included.
        offered: texts by intent that traffic has and nobody labelled.
        known: the intents in force.
        rule: `[gates.intents]`.
    """
    critical = {intent.name for intent in known if intent.critical}
    names = {intent.name for intent in known} | ({NONE} if rows.get(NONE) else set())
    groups: dict[str, list[str]] = {}
    for name, group in sorted(rule.groups.items()):
        if name in names:
            groups.setdefault(group, []).append(name)
    pools = [
        Pool(
            name=group,
            intents=tuple(members),
            margin=rule.margin_of(critical=bool(critical & set(members))),
        )
        for group, members in sorted(groups.items())
        if len(members) > 1
    ]
    if rule.pools == "off":
        return tuple(pools)
    grouped = {member for pool in pools for member in pool.intents}
    reach = {
        name: rows.get(name, 0) + min(offered.get(name, 0), rule.max_labels_per_intent)
        for name in sorted(names - grouped)
    }
    margins = {name: rule.margin_of(critical=name in critical) for name in reach}
    rare = [name for name in reach if reach[name] < fewest_rows(margins[name])]
    if len(rare) == len(reach):
        return tuple(pools)
    for margin in sorted({margins[name] for name in rare}):
        members = {name: reach[name] for name in rare if margins[name] == margin}
        pools += _dealt(members, margin, len(pools))
    return tuple(pools)


def _dealt(reach: Mapping[str, int], margin: float, number: int) -> list[Pool]:
    """Rare intents of one margin in as many pools as their rows are enough for."""
    if len(reach) < 2:
        return []
    many = max(1, min(sum(reach.values()) // likely_rows(margin), len(reach) // 2))
    members: list[list[str]] = [[] for _ in range(many)]
    sizes = [0] * many
    for name in sorted(reach, key=lambda name: (-reach[name], name)):
        place = min(range(many), key=lambda place: (sizes[place], len(members[place]), place))
        members[place].append(name)
        sizes[place] += reach[name]
    return [
        Pool(name=f"pool {number + place + 1}", intents=tuple(sorted(each)), margin=margin)
        for place, each in enumerate(members)
    ]


def judged_together(
    pool: Pool, grouped: Mapping[str, Sequence[Outcome]], groups: int
) -> tuple[PoolVerdict, Units]:
    """Judge the rows of a pool as one; INCONCLUSIVE while an intent of it has no row.

    Args:
        pool: the intents.
        grouped: outcomes by intent.
        groups: how many intents and pools are judged, for the level of harm.
    """
    units = pair(row for name in pool.intents for row in grouped.get(name, ()))
    unseen = tuple(name for name in pool.intents if not grouped.get(name))
    judged: Kept = kept(units, pool.margin, groups)
    verdict = "INCONCLUSIVE" if unseen and judged.verdict == "PASS" else judged.verdict
    needed = max(judged.labels_needed, len(unseen)) if verdict == "INCONCLUSIVE" else 0
    told = PoolVerdict(
        name=pool.name,
        intents=pool.intents,
        margin=pool.margin,
        n=units.n,
        losses=units.losses,
        gains=units.gains,
        e_value=judged.e_value,
        f_value=judged.f_value,
        verdict=verdict,
        labels_needed=0 if units.missing else needed,
        unseen=unseen,
    )
    return told, units


def shared_out(
    needed: int,
    rows: Mapping[str, int],
    room: Mapping[str, int],
) -> dict[str, int]:
    """Deal a pool's labels to its intents, one by one to the one with the fewest rows.

    By counts alone: what the rows said so far chooses none of them.

    Args:
        needed: labels that may decide the pool.
        rows: rows by intent, in the order of the pool.
        room: labels that each may still be asked for; those that traffic does not offer are none.
    """
    asked = dict.fromkeys(rows, 0)
    for _ in range(needed):
        open_ones = [name for name in rows if asked[name] < room.get(name, 0)]
        if not open_ones:
            break
        least = min(open_ones, key=lambda name: (rows[name] + asked[name], name))
        asked[least] += 1
    return {name: count for name, count in asked.items() if count}


def group_line(
    stuck: Sequence[str],
    rows: Mapping[str, int],
    offered: Mapping[str, int],
    known: Sequence[Intent],
    rule: IntentsRule,
) -> str:
    """Return the line of config.toml that judges intents as one group from then on.

    Where their rows would be too few together, those with the fewest rows of the others join.

    Args:
        stuck: what cannot be decided by traffic; "" is returned for nothing.
        rows: golden rows of the intents that may be in a group.
        offered: unlabelled texts of traffic.
        known: the intents in force.
        rule: `[gates.intents]`, whose other groups stay.
    """
    critical = {intent.name for intent in known if intent.critical}
    members = [name for name in dict.fromkeys(stuck) if name in rows]
    if not members:
        return ""
    margin = rule.margin_of(critical=bool(critical & set(members)))
    others = sorted(set(rows) - set(members) - critical, key=lambda name: (rows[name], name))

    def reach(names: Sequence[str]) -> int:
        return sum(rows[name] + offered.get(name, 0) for name in names)

    while others and (len(members) < 2 or reach(members) < likely_rows(margin)):
        members.append(others.pop(0))
    groups = {name: group for name, group in rule.groups.items() if name not in members}
    names = chain(["few"], (f"few-{number}" for number in count(2)))
    group = next(name for name in names if name not in groups.values())
    groups |= dict.fromkeys(sorted(members), group)
    written = ", ".join(f"{_key(name)} = {_quoted(each)}" for name, each in groups.items())
    return f"[gates.intents] groups = {{ {written} }}"


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _quoted(name)


def _quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


def still_to_decide(units: Units, margin: float, labels_needed: int) -> int:
    """Return the fewest further rows that can decide a group: beyond what traffic offers, it never
    will. At most `labels_needed`, the number that is expected to."""
    return min(labels_needed, fewest_more(units.counts, margin)) if labels_needed else 0
