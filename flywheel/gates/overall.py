"""G2 and G3: the challenger is better on the golden set, and not worse on fresh samples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from flywheel.config.tables import FreshRule, OverallRule
from flywheel.gates.evidence import Ledger
from flywheel.gates.units import Units, pair
from flywheel.metrics import (
    examples_to_detect,
    inferiority_p,
    minimum_detectable_gain,
    paired_difference,
    superiority_p,
)
from flywheel.records import NONE, GateResult, Outcome, Verdict

WORSE_P = 0.05
"""A challenger is called worse at this level of the reverse sign test."""

WORSE_ON_FRESH_P = 0.001
"""The same on fresh samples; low, so that an equal pair still fails in at most 5 % of turns."""

WORTH_SHOWING = 0.02
"""A gain that a golden set should be able to show."""
_USUAL_DISCORDANCE = 0.10  # share of examples two models differ on, where nobody counted


def overall(
    rows: Iterable[Outcome],
    rule: OverallRule,
    ledger: Ledger | None,
    dev: Sequence[Outcome] = (),
) -> GateResult:
    """Pass if the challenger is better overall by the sign test, at the profile's level.

    One query of the golden generation. A re-judgement after bought labels carries the first
    answer (`ledger.earlier_overall`) and asks nothing. The strict profile refuses a spent
    generation. What did not pass says which gain the golden set can show. What was gained out of
    scope does not pay for intents: in scope alone the challenger may not look worse, by the
    tolerance of `fresh`.

    Args:
        rows: golden rows without bought ones, which a challenger's own doubts selected.
        rule: `[gates.overall]`.
        ledger: None when the query was not written down, which cannot pass.
        dev: paired dev rows, for the pre-screen.
    """
    if ledger is not None and ledger.earlier_overall is not None:
        return ledger.earlier_overall
    level = rule.level
    if (blocked := _blocked(rule, ledger, dev)) is not None:
        size = len({row.family or row.sample for row in rows})
        resolution = _resolution(size, _USUAL_DISCORDANCE, level)
        return replace(blocked, detail=f"{blocked.detail}; {resolution}")
    rows = tuple(rows)
    units, inside = pair(rows), pair(row for row in rows if row.intent != NONE)
    p = superiority_p(units.losses, units.gains)
    verdict = _compared(units, inside, p <= level)
    paid = "" if _not_worse(inside) else f"in scope alone {_counted(inside)}; "
    low, _ = paired_difference(units.losses, units.gains, units.n)
    differing = (units.losses + units.gains + 1) / (units.n + 1)
    held = f"p = {p:.2g} against {level:.2g}"
    if rule.profile == "fast":
        held += " (fast profile: each turn may promote an equal challenger with this chance)"
    return GateResult(
        gate="overall",
        verdict=verdict,
        effect=units.effect,
        low=low if units.n else None,
        value=p,
        threshold=level,
        n=units.n,
        detail=f"{_counted(units)}, {held}"
        + ("" if verdict == "PASS" else f"; {paid}{_resolution(units.n, differing, level)}"),
    )


def prescreen(dev: Sequence[Outcome], rule: OverallRule) -> GateResult | None:
    """Return an INCONCLUSIVE result when dev says that a golden query would be wasted.

    None when the pre-screen is off or lets the query through. Ask it before writing a query.
    """
    if rule.prescreen_p >= 1:
        return None
    units = pair(dev)
    p = superiority_p(units.losses, units.gains)
    if p <= rule.prescreen_p:
        return None
    return GateResult(
        gate="overall",
        verdict="INCONCLUSIVE",
        effect=units.effect,
        value=p,
        threshold=rule.prescreen_p,
        n=units.n,
        detail=f"golden was not asked: on dev {_counted(units)}, p = {p:.2g} against "
        f"{rule.prescreen_p:.2g}",
    )


def fresh(rows: Sequence[Outcome], rule: FreshRule, waiting: int = 0) -> GateResult:
    """Pass if gains minus losses on fresh production samples is not below -0.5·sqrt(their sum).

    Fewer than `min_examples` is INCONCLUSIVE and says how many are missing; a challenger that
    is clearly worse there FAILs. `waiting` samples are there and were not asked, being too few.
    """
    units = pair(row for row in rows if row.split == "fresh")
    missing = max(0, rule.min_examples - units.n - waiting)
    verdict: Verdict = "INCONCLUSIVE"
    detail = f"{waiting} wait unasked" if waiting and not units.n else _counted(units)
    if inferiority_p(units.losses, units.gains) <= WORSE_ON_FRESH_P:
        verdict = "FAIL"
    elif units.n < rule.min_examples or not units.n:
        detail = f"{missing} more fresh examples are needed; {detail}"
    elif units.missing == 0 and _not_worse(units):
        verdict = "PASS"
    low, _ = paired_difference(units.losses, units.gains, units.n)
    return GateResult(
        gate="fresh",
        verdict=verdict,
        effect=units.effect,
        low=low if units.n else None,
        value=float(units.gains - units.losses),
        threshold=_tolerated(units),
        n=units.n,
        labels_needed=missing,
        detail=detail,
    )


def _compared(units: Units, inside: Units, better: bool) -> Verdict:
    if inferiority_p(units.losses, units.gains) <= WORSE_P:
        return "FAIL"
    return "PASS" if better and not units.missing and _not_worse(inside) else "INCONCLUSIVE"


def _tolerated(units: Units) -> float:
    """Gains minus losses that noise explains."""
    return -0.5 * math.sqrt(units.gains + units.losses)


def _not_worse(units: Units) -> bool:
    return units.gains - units.losses >= _tolerated(units)


def _blocked(rule: OverallRule, ledger: Ledger | None, dev: Sequence[Outcome]) -> GateResult | None:
    if ledger is None:
        detail = "the query was not written to the ledger"
    elif rule.profile == "strict" and ledger.spent:
        detail = (
            f"golden generation {ledger.generation} is spent ({ledger.used} of "
            f"{ledger.capacity} queries); import a new generation"
        )
    else:
        return prescreen(dev, rule)
    return GateResult(gate="overall", verdict="INCONCLUSIVE", threshold=rule.level, detail=detail)


def _counted(units: Units) -> str:
    if units.effect is None:
        return f"no example is paired ({units.missing} without both answers)"
    text = (
        f"{100 * units.effect:+.1f} points on {units.n} examples "
        f"({units.gains} gained, {units.losses} lost)"
    )
    return f"{text}, {units.missing} rows without both answers" if units.missing else text


def _resolution(n: int, differing: float, level: float) -> str:
    """The minimum detectable gain, and what it would take to show two points."""
    smallest = minimum_detectable_gain(n, differing, level)
    if math.isinf(smallest):
        return f"{n} examples are too few to show any gain at this level"
    text = f"this gate can promote only gains of {100 * smallest:.1f} points or more"
    if smallest <= WORTH_SHOWING:
        return text
    more = examples_to_detect(WORTH_SHOWING, differing, level) - n
    return f"{text}; import {more} more examples to see two points"
