"""The decision about a judged challenger (promote, hold, reject), and who may approve it.

Pure functions of the gates' judgement and the rules; no I/O, no clock. A challenger is promoted
only when every gate of `MUST_SPEAK` passed. An undecided challenger is held, never promoted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, Protocol

from flywheel.config.tables import PromotionTable, WatchTable
from flywheel.errors import Refused
from flywheel.records import (
    Decision,
    DecisionEvent,
    DecisionStatus,
    DecisionVerdict,
    GateResult,
    Verdict,
)

MUST_SPEAK = ("hygiene", "overall", "intents")
"""Gates that must all PASS before a champion is replaced."""

MACHINES = frozenset({"gates", "bootstrap", "schedule", "restore"})
"""Actors of decision events that are not people."""

NEVER_OVERRIDDEN = frozenset({"hygiene"})
"""Gates that no person may override: a leak into training makes every other figure worthless."""

BY_NAME = "by name"
"""`rests_on["approval"]` of a held decision whose approval overrides each gate by its name."""

_RATIOS = (1.5, 2.0, 3.0)  # of correction rates, new champion to earlier: the bets of `watch`
_LARGEST_LOG = 700.0


class Judged(Protocol):
    """The part of a `gates.Judgement` that the ruling reads."""

    @property
    def gates(self) -> Sequence[GateResult]:
        """Results of the gates that returned one."""

    @property
    def labels_wanted(self) -> Mapping[str, int]:
        """Number of labels that would decide, by intent."""

    @property
    def capped(self) -> Sequence[str]:
        """Undecided intents that have reached the cap on requested labels."""

    @property
    def verdict(self) -> Verdict:
        """FAIL if any gate fails, PASS if all pass."""

    @property
    def if_doubted(self) -> Verdict | None:
        """The verdict if disputes made after the rows were asked counted; None without any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Inputs of the ruling besides the gates' judgement."""

    champion: str | None  # None: the challenger would be the first champion
    new_intents: tuple[str, ...] = ()  # new, renamed or split since the champion was judged
    labels_asked_this_turn: int = 0
    disputed: tuple[str, ...] = ()  # must-pass examples whose label a person doubts
    feedback_change: float | None = None  # challenger's accuracy by feedback minus champion's
    refused: str = ""  # the person and decision that last refused this adapter; "": none


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """The decision, before it has an id and a time."""

    verdict: DecisionVerdict
    status: DecisionStatus
    by: str  # "gates" or "bootstrap"
    because: str  # one sentence with the figures
    person: bool  # a person must approve; False with a pending promotion: apply it at once
    by_name: bool = False  # who approves it overrides each gate that did not pass by its name


def decide(judgement: Judged, table: PromotionTable, situation: Situation) -> Ruling:
    """Rule on a judged challenger.

    All PASS promotes; in review mode, or with new intents, after a person's approval. Any FAIL
    rejects, except in the cases that `_failed` leaves to a person. A missing or undecided gate
    holds. Disputes made after their rows were asked decide nothing: where they would turn the
    verdict, a person decides.
    """
    ruling = _decide(judgement, table, situation)
    if judgement.if_doubted in (None, judgement.verdict) or judgement.verdict == "INCONCLUSIVE":
        return ruling
    because = (
        f"{ruling.because}; a person decides: without rows disputed after they were asked it "
        f"would be {judgement.if_doubted}, not {judgement.verdict}"
    )
    return replace(_hold(because, person=True), by=ruling.by, by_name=ruling.status == "rejected")


def _decide(judgement: Judged, table: PromotionTable, situation: Situation) -> Ruling:
    failed = [result for result in judgement.gates if result.verdict == "FAIL"]
    if failed:
        return _failed(judgement, failed, table, situation)
    if situation.champion is None:
        return _first_champion(judgement, table, situation)
    if _without_result(judgement, MUST_SPEAK) or _undecided(judgement):
        return _hold(_what_is_missing(judgement, situation), person=not judgement.labels_wanted)
    because = _details_of(judgement.gates, ("overall", "fresh", "intents"))
    waits = asks_a_person(situation.champion, situation.refused, table)
    if situation.new_intents:
        waits = f"a person decides because of new intents: {_shortened(situation.new_intents)}"
    if waits:
        because += f"; {waits}"
    return Ruling(
        verdict="promote", status="pending", by="gates", because=because, person=bool(waits)
    )


def asks_a_person(champion: str | None, refused: str, table: PromotionTable) -> str:
    """Return why a promotion needs a person's approval; "" where the gates may promote alone.

    Args:
        champion: the adapter that would be replaced; None: there is none.
        refused: `Situation.refused`.
        table: the current [promotion].
    """
    if refused:
        return f"a person decides: {refused} before"
    mode = table.bootstrap if champion is None else table.mode
    return "" if mode == "auto" else "a person approves"


def refused_by(events: Sequence[DecisionEvent], adapter: str) -> str:
    """Return which person refused an adapter last, and in which decision; "" when none stands.

    Args:
        events: decision events that applied or rejected, oldest first. Those of `MACHINES` are
            ignored.
        adapter: refused by a rejection, or by a rollback away from it. An approval of it, or a
            rollback to it, lifts an earlier refusal.
    """
    refusal = ""
    for event in events:
        if event.by in MACHINES:
            continue
        if event.verdict == "rollback" and event.champion == adapter and event.status == "applied":
            refusal = f"{event.by} rolled {adapter} back in {event.decision}"
        elif event.challenger == adapter and event.status == "rejected":
            refusal = f"{event.by} rejected {adapter} in {event.decision}"
        elif event.challenger == adapter and event.status == "applied":
            refusal = ""
    return refusal


def ratify(
    decision: Decision, action: Literal["approve", "reject"], champion_now: str | None
) -> None:
    """Check that a person's approval or rejection can still be applied.

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
    """Check that the decision compares with the champion that serves now.

    Raises:
        Refused: it does not; the message names both champions.
    """
    if decision.champion != champion_now:
        raise Refused(
            f"{decision.id} is superseded: it compares {decision.challenger} with "
            f"{decision.champion or 'no champion'}, and {champion_now or 'none'} serves now",
            hint="start a new turn, or reject it",
        )


def _settled(decision: Decision) -> str:
    """The final status of a decision, with the actor and the reason."""
    if decision.status == "expired":
        superseded = decision.because.startswith("superseded")
        return decision.because if superseded else f"expired: {decision.because}"
    return f"{decision.status} already, by {decision.by}: {decision.because}"


def expired(since: datetime, table: PromotionTable, now: datetime) -> bool:
    """Whether a pending decision has waited longer than `hold_days` since its last event."""
    return now - since > timedelta(days=table.hold_days)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One adapter's share of the same period's traffic."""

    adapter: str
    predictions: int
    corrected: int  # of them, those that feedback corrected

    def __post_init__(self) -> None:
        if not 0 <= self.corrected <= self.predictions:
            raise ValueError(f"arm {self.adapter}: {self.corrected} of {self.predictions}")


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchVerdict:
    """Whether the new champion is corrected more often than the earlier one beside it."""

    harmed: bool
    rollback: bool  # harmed, and `[watch] mode` is "rollback"
    e_value: float  # against "both are corrected equally often"
    threshold: float
    detail: str


def watch(arms: Sequence[Arm], table: WatchTable) -> WatchVerdict:
    """Test whether the new champion is corrected more often than the earlier one.

    The e-value bets on the arm that each correction comes from; harm is shown at 1/alpha. It is
    valid at any time and for any number of calls. No step of the turn calls it yet.

    Args:
        arms: the new champion first, then the earlier one over the same period. A single arm is
            not enough: corrections also rise when traffic gets harder.
        table: `[watch]`.

    Source: Ville's inequality, as in `metrics.paired_tests`.
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
    current, earlier = arms
    share = current.predictions / (current.predictions + earlier.predictions)
    wealth = 0.0
    for ratio in _RATIOS:
        scale = 1 + share * (ratio - 1)
        log_wealth = current.corrected * math.log(ratio / scale) - earlier.corrected * math.log(
            scale
        )
        wealth += math.exp(min(log_wealth, _LARGEST_LOG)) / len(_RATIOS)
    harmed = wealth >= threshold and table.mode != "off"
    return WatchVerdict(
        harmed=harmed,
        rollback=harmed and table.mode == "rollback",
        e_value=wealth,
        threshold=threshold,
        detail=f"{current.adapter} was corrected {current.corrected} times in "
        f"{current.predictions} answers, {earlier.adapter} {earlier.corrected} in "
        f"{earlier.predictions}; E = {wealth:.3g} against {threshold:.3g}",
    )


def _failed(
    judgement: Judged,
    failed: Sequence[GateResult],
    table: PromotionTable,
    situation: Situation,
) -> Ruling:
    """Reject, or hold for a person in three cases.

    Only `intents` failed beside a large overall gain; only `must_pass` failed and its label is
    disputed; `overall` or `intents` failed while accuracy by feedback rose.
    """
    names = {result.gate for result in failed}
    because = "; ".join(f"{result.gate} failed: {result.detail}" for result in failed)
    if names == {"intents"} and _gain(judgement) >= table.large_gain:
        return _hold(
            f"{because}; overall it gained {100 * _gain(judgement):.1f} points", person=True
        )
    if names == {"must_pass"} and situation.disputed:
        return _hold(f"{because}; disputed labels: {_shortened(situation.disputed)}", person=True)
    change = situation.feedback_change
    if names <= {"overall", "intents"} and change is not None and change > 0:
        poisoned = f"by feedback it gained {100 * change:.1f} points, as poisoned feedback would"
        return _hold(f"{because}; {poisoned}", person=True)
    return Ruling(verdict="reject", status="rejected", by="gates", because=because, person=False)


def _first_champion(judgement: Judged, table: PromotionTable, situation: Situation) -> Ruling:
    """Rule on the first champion: a person approves it unless `bootstrap = "auto"`."""
    silent = _without_result(judgement, ("hygiene",))
    undecided = [result for result in judgement.gates if result.verdict != "PASS"]
    passed = _details_of(judgement.gates, ("hygiene", "must_pass"))
    if silent or undecided:
        reasons = [f"{name} had no word" for name in silent]
        reasons += [f"{result.gate} is undecided: {result.detail}" for result in undecided]
        because = "the first champion; " + "; ".join(reasons)
        return Ruling(
            verdict="hold", status="pending", by="bootstrap", because=because, person=True
        )
    if situation.refused:
        because = (
            f"the first champion, for a person to decide: {situation.refused} before; {passed}"
        )
        return Ruling(
            verdict="hold", status="pending", by="bootstrap", because=because, person=True
        )
    if table.bootstrap == "auto":
        because = f'the first champion, without a person\'s approval (bootstrap = "auto"); {passed}'
        return Ruling(
            verdict="promote", status="pending", by="bootstrap", because=because, person=False
        )
    because = f"the first champion, for a person to approve; {passed}"
    return Ruling(verdict="hold", status="pending", by="bootstrap", because=because, person=True)


def _hold(because: str, *, person: bool) -> Ruling:
    return Ruling(verdict="hold", status="pending", by="gates", because=because, person=person)


def _what_is_missing(judgement: Judged, situation: Situation) -> str:
    reasons = [f"{name} had no word" for name in _without_result(judgement, MUST_SPEAK)]
    reasons += [f"{r.gate} is undecided: {r.detail}" for r in _undecided(judgement)]
    if judgement.labels_wanted:
        label_count = sum(judgement.labels_wanted.values())
        reasons.append(
            f"{label_count} labels over {len(judgement.labels_wanted)} intents may decide it"
        )
    elif judgement.capped:
        reasons.append(
            f"{situation.labels_asked_this_turn} labels were asked for and the cap is reached at "
            f"{_shortened(judgement.capped)}: a person decides"
        )
    return "; ".join(reasons)


def _without_result(judgement: Judged, names: Sequence[str]) -> list[str]:
    spoke = {result.gate for result in judgement.gates}
    return [name for name in names if name not in spoke]


def _undecided(judgement: Judged) -> list[GateResult]:
    return [result for result in judgement.gates if result.verdict != "PASS"]


def _gain(judgement: Judged) -> float:
    """Overall gain in accuracy, 0..1, where that gate passed; otherwise 0."""
    return next(
        (
            result.effect
            for result in judgement.gates
            if result.gate == "overall" and result.verdict == "PASS" and result.effect is not None
        ),
        0.0,
    )


def _details_of(results: Sequence[GateResult], names: Sequence[str]) -> str:
    return "; ".join(f"{r.gate}: {r.detail}" for r in results if r.gate in names)


def _shortened(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def gates_to_override(decision: Decision) -> tuple[str, ...]:
    """Return the gates that each approving person must override by name.

    Empty where the gates left the decision to a person. Otherwise (it waits for labels, the gates
    rejected it, or only late disputes kept them from it) every gate that did not pass.
    """
    labels = decision.rests_on.get("waits_for") == "labels"
    left = decision.status == "pending" and not labels and decision.verdict != "reject"
    if left and decision.rests_on.get("approval") != BY_NAME:
        return ()
    return tuple(line.gate for line in decision.gates if line.verdict != "PASS")


def check_override(decision: Decision, overridden: Sequence[str], table: PromotionTable) -> None:
    """Check that an approval overrides exactly the gates that it must and may override.

    Raises:
        Refused: a gate is missing, may not be overridden, or passed; the message names it.
    """
    undecided = {line.gate for line in decision.gates if line.verdict != "PASS"}
    for name in overridden:
        if name in NEVER_OVERRIDDEN:
            raise Refused(f"{name} can never be overridden", hint="mend it, and start a new turn")
        if name not in table.allow_override:
            raise Refused(
                f"{name} may not be overridden here",
                hint="[promotion] allow_override names the gates that may",
            )
        if name not in undecided:
            raise Refused(f"{name} needs no override: it passed, or had no word")
    if missing := [name for name in gates_to_override(decision) if name not in overridden]:
        raise Refused(
            f"{decision.id}: {', '.join(missing)} did not pass",
            hint="import the labels it waits for, or approve with "
            + " ".join(f"--override {name}" for name in missing),
        )


def lifts_rejection(decision: Decision, overridden: Sequence[str]) -> bool:
    """Whether the override lifts a rejection by the gates; a person's rejection stays."""
    return bool(overridden) and decision.status == "rejected" and decision.by == "gates"
