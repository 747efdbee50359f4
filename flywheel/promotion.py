"""What to do now: promote, hold or reject.

Pure functions of the gates' judgement and the rules. A challenger is promoted only when every
gate that must speak has passed; what is undecided is held, never promoted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

from flywheel.config.tables import PromotionTable, WatchTable
from flywheel.errors import Refused
from flywheel.records import Decision, DecisionStatus, DecisionVerdict, GateResult

MUST_SPEAK = ("hygiene", "overall", "intents")
"""Gates without whose PASS nothing replaces a champion."""

_RATIOS = (1.5, 2.0, 3.0)  # of corrected-rates that `watch` bets on
_LARGEST_LOG = 700.0


class Judged(Protocol):
    """The part of a `gates.Judgement` that the ruling reads."""

    @property
    def gates(self) -> Sequence[GateResult]:
        """Results of the gates that had a word."""

    @property
    def labels_wanted(self) -> Mapping[str, int]:
        """Labels that would decide, by intent."""

    @property
    def capped(self) -> Sequence[str]:
        """Undecided intents that may be asked no further label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What else the ruling depends on."""

    champion: str | None  # None: this would be the first
    new_intents: tuple[str, ...] = ()  # new, renamed or split since the champion was judged
    labels_asked_this_turn: int = 0
    disputed: tuple[str, ...] = ()  # must-pass examples whose label a person doubts
    feedback_change: float | None = None  # challenger's accuracy by feedback minus champion's


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """The decision in substance. It is applied at once only where no person is waited for."""

    verdict: DecisionVerdict
    status: DecisionStatus
    by: str  # "gates" or "bootstrap"
    because: str  # plain words with the numbers
    person: bool  # a person has the word; False with a pending promotion: apply it


def decide(judgement: Judged, table: PromotionTable, situation: Situation) -> Ruling:
    """Rule on a judged challenger.

    All PASS promotes (a person approves in review mode, or where intents are new); any FAIL
    rejects, save for the few cases a person weighs; anything undecided or absent is held.
    """
    failed = [result for result in judgement.gates if result.verdict == "FAIL"]
    if failed:
        return _failed(judgement, failed, table, situation)
    if situation.champion is None:
        return _first(judgement, table)
    if _silent(judgement, MUST_SPEAK) or _undecided(judgement):
        return _hold(_what_is_missing(judgement, situation), person=not judgement.labels_wanted)
    because = _told(judgement.gates, ("overall", "fresh", "intents"))
    if situation.new_intents:
        because += f"; a person decides because of new intents: {_some(situation.new_intents)}"
    elif table.mode == "review":
        because += "; a person approves"
    waiting = table.mode == "review" or bool(situation.new_intents)
    return Ruling(verdict="promote", status="pending", by="gates", because=because, person=waiting)


def ratify(
    decision: Decision, action: Literal["approve", "reject"], champion_now: str | None
) -> bool:
    """Say whether a person's word is still to be carried out; False when it already was.

    Raises:
        Refused: the decision is settled the other way, has expired, or was made against a
            champion that no longer serves.
    """
    done: DecisionStatus = "applied" if action == "approve" else "rejected"
    if decision.status == done:
        return False
    if decision.status == "expired":
        raise Refused(
            f"{decision.id} has expired: {decision.because}",
            hint="start a new turn to judge the adapter again",
        )
    if decision.status != "pending":
        hint = (
            "`flywheel adapters rollback` undoes a promotion"
            if decision.status == "applied"
            else "start a new turn to judge the adapter again"
        )
        raise Refused(f"{decision.id} is {decision.status} already", hint=hint)
    if action == "approve" and decision.champion != champion_now:
        raise Refused(
            f"{decision.id} is superseded: it compares {decision.challenger} with "
            f"{decision.champion or 'no champion'}, and {champion_now or 'none'} serves now",
            hint="start a new turn, or reject it",
        )
    return True


def expired(decision: Decision, table: PromotionTable, now: datetime) -> bool:
    """Whether a held decision has waited longer than `hold_days`."""
    return decision.status == "pending" and now - decision.at > timedelta(days=table.hold_days)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One adapter's share of the same period's traffic."""

    adapter: str
    predictions: int
    corrected: int  # of them, said to be wrong

    def __post_init__(self) -> None:
        if not 0 <= self.corrected <= self.predictions:
            raise ValueError(f"arm {self.adapter}: {self.corrected} of {self.predictions}")


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchVerdict:
    """Whether the new champion is corrected more often than the earlier one beside it."""

    harmed: bool
    rollback: bool  # harmed, and the rule says to act
    e_value: float  # against "both are corrected equally often"
    threshold: float
    detail: str


def watch(arms: Sequence[Arm], table: WatchTable) -> WatchVerdict:
    """Bet on which arm each correction came from; harm is shown when the bet has grown to
    1/alpha. May be asked at any time and as often as wanted. No step of the turn asks it yet.

    Args:
        arms: the new champion first, then the earlier one over the same period. A single arm
            shows nothing: corrections also rise when traffic gets harder.
        table: `[watch]`.

    Source: Ville's inequality, as in `metrics.evidence`.
    """
    threshold = 1 / table.alpha
    if len(arms) != 2 or not all(arm.predictions for arm in arms):
        return WatchVerdict(
            harmed=False,
            rollback=False,
            e_value=1.0,
            threshold=threshold,
            detail="nothing to compare with: no earlier champion answers beside this one",
        )
    new, earlier = arms
    share = new.predictions / (new.predictions + earlier.predictions)
    wealth = 0.0
    for ratio in _RATIOS:
        scale = 1 + share * (ratio - 1)
        logs = new.corrected * math.log(ratio / scale) - earlier.corrected * math.log(scale)
        wealth += math.exp(min(logs, _LARGEST_LOG)) / len(_RATIOS)
    harmed = wealth >= threshold and table.mode != "off"
    return WatchVerdict(
        harmed=harmed,
        rollback=harmed and table.mode == "rollback",
        e_value=wealth,
        threshold=threshold,
        detail=f"{new.adapter} was corrected {new.corrected} times in {new.predictions} answers, "
        f"{earlier.adapter} {earlier.corrected} in {earlier.predictions}; "
        f"E = {wealth:.3g} against {threshold:.3g}",
    )


def _failed(
    judgement: Judged,
    failed: Sequence[GateResult],
    table: PromotionTable,
    situation: Situation,
) -> Ruling:
    names = {result.gate for result in failed}
    because = "; ".join(f"{result.gate} failed: {result.detail}" for result in failed)
    if names == {"intents"} and _gain(judgement) >= table.large_gain:
        return _hold(
            f"{because}; overall it gained {100 * _gain(judgement):.1f} points", person=True
        )
    if names == {"must_pass"} and situation.disputed:
        return _hold(f"{because}; disputed labels: {_some(situation.disputed)}", person=True)
    change = situation.feedback_change
    if names <= {"overall", "intents"} and change is not None and change > 0:
        poisoned = f"by feedback it gained {100 * change:.1f} points, as poisoned feedback would"
        return _hold(f"{because}; {poisoned}", person=True)
    return Ruling(verdict="reject", status="rejected", by="gates", because=because, person=False)


def _first(judgement: Judged, table: PromotionTable) -> Ruling:
    """The first champion: nothing to compare with, so a person approves unless waived."""
    silent = _silent(judgement, ("hygiene",))
    undecided = [result for result in judgement.gates if result.verdict != "PASS"]
    told = _told(judgement.gates, ("hygiene", "must_pass"))
    if silent or undecided:
        reasons = [f"{name} had no word" for name in silent]
        reasons += [f"{result.gate} is undecided: {result.detail}" for result in undecided]
        because = "the first champion; " + "; ".join(reasons)
        return Ruling(
            verdict="hold", status="pending", by="bootstrap", because=because, person=True
        )
    if table.bootstrap == "auto":
        because = f'the first champion, without a person\'s approval (bootstrap = "auto"); {told}'
        return Ruling(
            verdict="promote", status="pending", by="bootstrap", because=because, person=False
        )
    because = f"the first champion, for a person to approve; {told}"
    return Ruling(verdict="hold", status="pending", by="bootstrap", because=because, person=True)


def _hold(because: str, *, person: bool) -> Ruling:
    return Ruling(verdict="hold", status="pending", by="gates", because=because, person=person)


def _what_is_missing(judgement: Judged, situation: Situation) -> str:
    reasons = [f"{name} had no word" for name in _silent(judgement, MUST_SPEAK)]
    reasons += [f"{r.gate} is undecided: {r.detail}" for r in _undecided(judgement)]
    if judgement.labels_wanted:
        wanted = sum(judgement.labels_wanted.values())
        reasons.append(f"{wanted} labels over {len(judgement.labels_wanted)} intents may decide it")
    elif judgement.capped:
        reasons.append(
            f"{situation.labels_asked_this_turn} labels were asked for and the cap is reached at "
            f"{_some(judgement.capped)}: a person decides"
        )
    return "; ".join(reasons)


def _silent(judgement: Judged, names: Sequence[str]) -> list[str]:
    spoke = {result.gate for result in judgement.gates}
    return [name for name in names if name not in spoke]


def _undecided(judgement: Judged) -> list[GateResult]:
    return [result for result in judgement.gates if result.verdict != "PASS"]


def _gain(judgement: Judged) -> float:
    """Overall gain where it passed, else 0."""
    return next(
        (
            result.effect
            for result in judgement.gates
            if result.gate == "overall" and result.verdict == "PASS" and result.effect is not None
        ),
        0.0,
    )


def _told(results: Sequence[GateResult], names: Sequence[str]) -> str:
    return "; ".join(f"{r.gate}: {r.detail}" for r in results if r.gate in names)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
