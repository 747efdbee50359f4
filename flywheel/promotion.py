"""What to do now: promote, hold or reject; and which approvals of a person the rules allow.

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
from flywheel.records import Decision, DecisionEvent, DecisionStatus, DecisionVerdict, GateResult

MUST_SPEAK = ("hygiene", "overall", "intents")
"""Gates without whose PASS nothing replaces a champion."""

MACHINES = frozenset({"gates", "bootstrap", "schedule", "restore"})
"""Actors of decision events that are no person."""

_RATIOS = (1.5, 2.0, 3.0)  # of corrected-rates that `watch` bets on
_LARGEST_LOG = 700.0


class Judged(Protocol):
    """The part of a `gates.Judgement` that the ruling reads."""

    @property
    def gates(self) -> Sequence[GateResult]:
        """Results of the gates that had a event."""

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
    refused: str = ""  # a person rejected this adapter or rolled it back: who, in which decision


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
        return _first(judgement, table, situation)
    if _silent(judgement, MUST_SPEAK) or _undecided(judgement):
        return _hold(_what_is_missing(judgement, situation), person=not judgement.labels_wanted)
    because = _told(judgement.gates, ("overall", "fresh", "intents"))
    waits = asks_a_person(situation.champion, situation.refused, table)
    if situation.new_intents:
        waits = f"a person decides because of new intents: {_some(situation.new_intents)}"
    if waits:
        because += f"; {waits}"
    return Ruling(
        verdict="promote", status="pending", by="gates", because=because, person=bool(waits)
    )


def asks_a_person(champion: str | None, refused: str, table: PromotionTable) -> str:
    """Say why the gates alone may not promote; "" where they may.

    Args:
        champion: what would be replaced; None: nothing.
        refused: `Situation.refused`.
        table: [promotion] as it is now.
    """
    if refused:
        return f"a person decides: {refused} before"
    mode = table.bootstrap if champion is None else table.mode
    return "" if mode == "auto" else "a person approves"


def refused_by(events: Sequence[DecisionEvent], adapter: str) -> str:
    """Say which person refused an adapter last, and where; "" when nobody did, or it was lifted.

    Args:
        events: those that applied or rejected something, oldest first. Machines' do not count.
        adapter: a rejection refuses it, and so does a rollback away from it. An approval, or a
            rollback to it, lifts what was said before.
    """
    said = ""
    for event in events:
        if event.by in MACHINES:
            continue
        if event.verdict == "rollback" and event.champion == adapter and event.status == "applied":
            said = f"{event.by} rolled {adapter} back in {event.decision}"
        elif event.challenger == adapter and event.status == "rejected":
            said = f"{event.by} rejected {adapter} in {event.decision}"
        elif event.challenger == adapter and event.status == "applied":
            said = ""
    return said


def ratify(
    decision: Decision, action: Literal["approve", "reject"], champion_now: str | None
) -> None:
    """Refuse a person's word that can no longer be carried out, or was given before.

    Raises:
        Refused: the decision is settled, has expired, or was made against a champion that no
            longer serves; the message says by whom and why.
    """
    if decision.status != "pending":
        raise Refused(
            f"{decision.id} is {_settled(decision)}; nothing was changed, and your reason "
            "was not recorded",
            hint="`flywheel adapters rollback` undoes a promotion"
            if decision.status == "applied"
            else "start a new turn to judge the adapter again: `flywheel turn start`",
        )
    if action == "approve":
        compares(decision, champion_now)


def compares(decision: Decision, champion_now: str | None) -> None:
    """Refuse to install what was compared with another champion than the one that serves.

    Raises:
        Refused: the message names both.
    """
    if decision.champion != champion_now:
        raise Refused(
            f"{decision.id} is superseded: it compares {decision.challenger} with "
            f"{decision.champion or 'no champion'}, and {champion_now or 'none'} serves now",
            hint="start a new turn, or reject it",
        )


def _settled(decision: Decision) -> str:
    """What became of it, who did that and why."""
    if decision.status == "expired":
        superseded = decision.because.startswith("superseded")
        return decision.because if superseded else f"expired: {decision.because}"
    return f"{decision.status} already, by {decision.by}: {decision.because}"


def expired(since: datetime, table: PromotionTable, now: datetime) -> bool:
    """Whether what waits since the last word on it has waited longer than `hold_days`."""
    return now - since > timedelta(days=table.hold_days)


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

    Source: Ville's inequality, as in `metrics.e_values`.
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


def _first(judgement: Judged, table: PromotionTable, situation: Situation) -> Ruling:
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
    if situation.refused:
        because = f"the first champion, for a person to decide: {situation.refused} before; {told}"
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


# May a person approve what a gate did not pass? Pure; the answer is kept with the approval.

NEVER_OVERRIDDEN = frozenset({"hygiene"})
"""A leak makes every other figure worthless: no word of a person mends that."""


def gates_to_override(decision: Decision) -> tuple[str, ...]:
    """Gates that must be overridden by name before a person's approval counts.

    None where the gates left the word to a person; what waits for labels, or what the gates
    rejected, needs every gate that did not pass, of each person who approves it.
    """
    labels = decision.rests_on.get("waits_for") == "labels"
    if decision.status == "pending" and not labels and decision.verdict != "reject":
        return ()
    return tuple(line.gate for line in decision.gates if line.verdict != "PASS")


def check_override(decision: Decision, asked: Sequence[str], table: PromotionTable) -> None:
    """Refuse an approval that overrides too little, too much, or what may not be.

    Raises:
        Refused: the message names the gate.
    """
    undecided = {line.gate for line in decision.gates if line.verdict != "PASS"}
    for name in asked:
        if name in NEVER_OVERRIDDEN:
            raise Refused(f"{name} can never be overridden", hint="mend it, and start a new turn")
        if name not in table.allow_override:
            raise Refused(
                f"{name} may not be overridden here",
                hint="[promotion] allow_override names the gates that may",
            )
        if name not in undecided:
            raise Refused(f"{name} needs no override: it passed, or had no word")
    if missing := [name for name in gates_to_override(decision) if name not in asked]:
        raise Refused(
            f"{decision.id}: {', '.join(missing)} did not pass",
            hint="import the labels it waits for, or approve with "
            + " ".join(f"--override {name}" for name in missing),
        )


def lifts_rejection(decision: Decision, asked: Sequence[str]) -> bool:
    """Whether this is the gates' own rejection, which an override may lift; a person's stays."""
    return bool(asked) and decision.status == "rejected" and decision.by == "gates"
