"""G5 and G6: slices of the traffic, and texts that ask for no call, kept their margin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flywheel.config.tables import OutOfScopeRule, SlicesRule
from flywheel.gates.units import Kept, Units, collect, kept, pair
from flywheel.metrics import DECISIVE_E
from flywheel.records import NONE, GateResult, Outcome


def slices(rows: Sequence[Outcome], rule: SlicesRule) -> GateResult | None:
    """Pass if every configured slice shows that it did not lose its margin; None without any.

    A slice is written `key=value`. One that no row belongs to is INCONCLUSIVE.

    Raises:
        ValueError: a margin is at or below the usual share of losses.
    """
    if not rule.margins:
        return None
    judged = {
        name: _judged(pair(_inside(rows, name)), margin, len(rule.margins))
        for name, margin in sorted(rule.margins.items())
    }
    return _combined("slices", judged)


def out_of_scope(rows: Sequence[Outcome], rule: OutOfScopeRule) -> GateResult:
    """Pass if neither false accepts nor false rejects rose by the margin.

    A false accept is a call where none was asked for; a false reject is no call where one was.

    Raises:
        ValueError: the margin is at or below the usual share of losses.
    """
    judged = {
        "false accepts": _judged(_calls(rows, out=True), rule.margin, 2),
        "false rejects": _judged(_calls(rows, out=False), rule.margin, 2),
    }
    return _combined("out_of_scope", judged)


def _inside(rows: Sequence[Outcome], name: str) -> list[Outcome]:
    key, _, value = name.partition("=")
    return [row for row in rows if row.slices.get(key) == value]


def _calls(rows: Sequence[Outcome], *, out: bool) -> Units:
    """Units of "called or not, rightly" over the rows in or out of scope."""

    def difference(row: Outcome) -> int | None:
        if row.champion_intent is None or row.challenger_intent is None:
            return None
        before = (row.champion_intent == NONE) == out
        after = (row.challenger_intent == NONE) == out
        return after - before

    return collect(
        ((row.family,) if row.family else row.sample, difference(row))
        for row in rows
        if (row.intent == NONE) == out
    )


def _judged(units: Units, margin: float, groups: int) -> tuple[Units, Kept]:
    return units, kept(units, margin, groups)


def _combined(gate: str, judged: Mapping[str, tuple[Units, Kept]]) -> GateResult:
    verdicts = {each.verdict for _, each in judged.values()}
    effects = [units.effect for units, _ in judged.values() if units.effect is not None]
    return GateResult(
        gate=gate,
        verdict="FAIL"
        if "FAIL" in verdicts
        else "PASS"
        if verdicts == {"PASS"}
        else "INCONCLUSIVE",
        effect=min(effects, default=None),
        value=min(each.e_value for _, each in judged.values()),
        threshold=DECISIVE_E,
        n=sum(units.n for units, _ in judged.values()),
        labels_needed=max(each.labels_needed for _, each in judged.values()),
        detail="; ".join(_described(name, *pair) for name, pair in judged.items()),
    )


def _described(name: str, units: Units, each: Kept) -> str:
    if units.n == 0:
        return f"{name}: no example"
    text = f"{name}: {units.gains} gained, {units.losses} lost of {units.n}, E = {each.e_value:.3g}"
    if units.missing:
        text += f", {units.missing} without both answers"
    return f"{text}, {each.labels_needed} more needed" if each.labels_needed else text
