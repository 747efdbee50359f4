"""Which golden rows may be learned: by counts and by lot, never by what anybody answered. Pure.

A row judges while no compared model has learned it, or one near it. At import a share of the rows
is learned at once; rows that have judged often enough follow. What stays is never less than the
margins need. Rows of one family, or near one another, go together or stay together; one of them
that must pass, or whose label is in doubt, keeps all of them.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from flywheel.config.tables import GatesTable, OverallRule
from flywheel.content import content_id
from flywheel.gates.overall import WORTH_SHOWING
from flywheel.metrics import fewest_rows, labels_to_decide, likely_rows
from flywheel.records import NONE, Intent

_AUTO = 0.5
"""Share of an intent's rows that "auto" takes at most."""

_Count = tuple[str, str]  # ("intent", its name), ("slice", "key=value"), or all
_ALL: _Count = ("all", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenRow:
    """What is known of a golden row without anybody's answer."""

    sample: str
    intent: str
    group: str  # the same for rows of one family, and for rows near one another
    family: str = ""  # rows of one family are one unit to the gates
    stays: bool = False  # must pass, or its label is in doubt
    bought: bool = False  # it came after the generation was first asked
    asked: bool = False  # a model was asked it, so that somebody may know an answer
    answered: int = 0  # queries of the ledger
    slices: tuple[str, ...] = ()  # "key=value"


def shared(
    rows: Sequence[GoldenRow],
    known: Sequence[Intent],
    table: GatesTable,
    taken: Mapping[str, int],
) -> frozenset[str]:
    """Return the samples that training gets at once, of rows that nobody was asked.

    Args:
        rows: those of the generation that judge.
        known: the intents in force.
        table: `[gates]`. A share of "auto" takes at most half of an intent's rows, and leaves as
            many as are expected to decide, and in all those without which no gain of two points
            could pass; a number leaves those without which nothing decides.
        taken: units by intent that this generation gave before.
    """
    auto = table.share == "auto"
    share = _AUTO if auto else float(table.share)
    units = _units(rows)
    room = _room(units, known, table, _expected_rows if auto else fewest_rows)
    for kind, name in room:
        if kind == "intent":
            before = taken.get(name, 0)
            most = int(share * (units[kind, name] + before)) - before
            room[kind, name] = min(room[kind, name], most)
    if auto:
        room[_ALL] = max(0, units[_ALL] - _seen_overall(table.overall))
    return _chosen(rows, room, lambda row: not (row.asked or row.bought))


def judged_enough(
    rows: Sequence[GoldenRow], known: Sequence[Intent], table: GatesTable
) -> frozenset[str]:
    """Return the samples that have judged often enough, beyond what decides by itself.

    Rows of the seal after `retire_after` queries; bought labels once they have judged, and first,
    since they judge single intents only. Of each intent as many stay as decide nine of ten harmless
    challengers without a further label.

    Args:
        rows: those of the generation that judge.
        known: the intents in force.
        table: `[gates]`.
    """
    if table.retire == "off":
        return frozenset()
    room = _room(_units(rows), known, table, likely_rows)
    return _chosen(
        rows, room, lambda row: row.answered >= (1 if row.bought else table.retire_after)
    )


def _seen_overall(rule: OverallRule) -> int:
    """Rows on which a gain of `WORTH_SHOWING` without any loss passes the overall gate.

    Source: the sign test, whose p-value for k gains and no loss is 2^-k.

    >>> _seen_overall(OverallRule()), _seen_overall(OverallRule(profile="fast"))
    (450, 250)
    """
    return math.ceil(math.ceil(math.log2(1 / rule.level)) / WORTH_SHOWING - 1e-9)


def _expected_rows(margin: float) -> int:
    """Rows after which an unharmed intent is expected to have shown that it kept its margin."""
    return labels_to_decide(1.0, margin)


def _room(
    units: Mapping[_Count, int],
    known: Sequence[Intent],
    table: GatesTable,
    needed: Callable[[float], int],
) -> dict[_Count, int]:
    """How many units each intent and slice can spare; nothing of an intent that is not known.

    Args:
        units: that judge.
        known: the intents in force.
        table: `[gates]`.
        needed: units that a margin takes.
    """
    rule, outside = table.intents, table.out_of_scope
    margins = {("intent", one.name): rule.margin_of(critical=one.critical) for one in known}
    margins["intent", NONE] = min(rule.margin, outside.margin) if outside.required else rule.margin
    margins |= {("slice", name): margin for name, margin in table.slices.margins.items()}
    return {
        count: max(0, units[count] - needed(margins[count])) if count in margins else 0
        for count in units
        if count[0] == "intent" or count in margins
    }


def _chosen(
    rows: Sequence[GoldenRow], room: Mapping[_Count, int], ready: Callable[[GoldenRow], bool]
) -> frozenset[str]:
    """Samples of whole groups, by lot, groups of bought labels first, as long as there is room."""
    groups: dict[str, list[GoldenRow]] = defaultdict(list)
    for row in rows:
        groups[row.group].append(row)
    candidates = [
        members
        for members in groups.values()
        if all(ready(row) and not row.stays for row in members)
    ]
    left, chosen = dict(room), set[str]()
    for members in sorted(candidates, key=_lot):
        taken = _units(members)
        counted = [count for count in taken if count in left]
        if all(left[count] >= taken[count] for count in counted):
            for count in counted:
                left[count] -= taken[count]
            chosen |= {row.sample for row in members}
    return frozenset(chosen)


def _lot(members: Collection[GoldenRow]) -> tuple[bool, str]:
    """By the hash of their ids: the same rows have the same order, whatever was answered."""
    sealed = not all(row.bought for row in members)
    return sealed, content_id("lot", sorted(row.sample for row in members))


def _units(rows: Sequence[GoldenRow]) -> Counter[_Count]:
    """Independent rows of each intent and each slice, as the gates count them."""
    seen = {
        (count, bool(row.family), row.family or row.sample)
        for row in rows
        for count in (_ALL, ("intent", row.intent), *(("slice", name) for name in row.slices))
    }
    return Counter(count for count, _, _ in seen)
