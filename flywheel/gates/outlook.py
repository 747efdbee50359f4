"""What deciding will take, said before the first turn: labels, turns, and what never decides.

For a challenger that harms nothing: it loses and gains the usual share of rows by chance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flywheel.config.tables import GatesTable, IntentsRule
from flywheel.gates.pools import Pool
from flywheel.metrics import (
    fewest_rows,
    labels_to_decide,
    likely_rows,
    minimum_detectable_gain,
    pass_chance,
)
from flywheel.records import Intent

_USUAL_DISCORDANCE = 0.10  # share of examples two models differ on
_NEVER = 0.001  # chance below which a number of turns says nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What deciding takes, with the golden rows and the traffic of today."""

    labels: int  # expected until each intent and pool is decided
    offered: int  # of them, those that traffic has texts for
    turns: int | None  # until a harmless challenger passes by rows and texts of today; None: never
    alone: int  # intents judged by their own rows
    pools: tuple[Pool, ...] = ()
    beyond: Mapping[str, int] = field(default_factory=dict)  # rows to import, by intent or pool


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenThatPays:
    """The smallest golden set that decides most turns without further labels."""

    texts: int
    each: Mapping[str, int]  # by intent
    gain: float  # smallest gain that it finds four times in five, 0..1
    turns: int  # that one generation answers


def outlook(
    rows: Mapping[str, int],
    offered: Mapping[str, int],
    known: Sequence[Intent],
    rule: IntentsRule,
    pools: Sequence[Pool],
) -> Outlook:
    """Say what deciding takes.

    Args:
        rows: independent golden rows by intent.
        offered: unlabelled texts of traffic by intent.
        known: the intents in force.
        rule: `[gates.intents]`.
        pools: of `make_pools`.
    """
    pooled = {name for pool in pools for name in pool.intents}
    alone = [intent for intent in known if intent.name not in pooled]
    parts = [(pool.name, pool.intents, pool.margin) for pool in pools]
    parts += [
        (intent.name, (intent.name,), rule.margin_of(critical=intent.critical)) for intent in alone
    ]
    labels = have = 0
    chance, beyond = 1.0, {}
    for name, members, margin in parts:
        there = sum(rows.get(member, 0) for member in members)
        texts = sum(min(offered.get(member, 0), rule.max_labels_per_intent) for member in members)
        expected = max(0, labels_to_decide(1.0, margin) - there)
        labels += expected
        have += min(expected, texts)
        chance *= pass_chance(min(there + texts, likely_rows(margin) * 2), margin)
        if there + texts < fewest_rows(margin):
            beyond[name] = expected - texts
    return Outlook(
        labels=labels,
        offered=have,
        turns=math.ceil(1 / chance - 1e-9) if chance > _NEVER and not beyond else None,
        alone=len(alone),
        pools=tuple(pools),
        beyond=beyond,
    )


def golden_that_pays(known: Sequence[Intent], table: GatesTable) -> GoldenThatPays:
    """Return the smallest golden set that decides about nine of ten harmless intents by itself.

    Args:
        known: the intents in force.
        table: `[gates]`.
    """
    margins = {i.name: table.intents.margin_of(critical=i.critical) for i in known}
    each = {name: likely_rows(margin) for name, margin in margins.items()}
    rule = table.overall
    texts = sum(each.values())
    return GoldenThatPays(
        texts=texts,
        each=each,
        gain=minimum_detectable_gain(texts, _USUAL_DISCORDANCE, rule.level) if texts else math.inf,
        turns=rule.queries,
    )
