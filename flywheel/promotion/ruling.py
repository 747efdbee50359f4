"""The decision about a judged challenger: promote, hold or reject.

Pure functions of the gates' judgement and the rules; no I/O, no clock. A challenger is promoted
only when every gate of `MUST_SPEAK` passed. An undecided challenger is held, never promoted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol

from flywheel.config.tables import PromotionTable
from flywheel.promotion.admission import MUST_SPEAK, asks_a_person
from flywheel.records import DecisionStatus, DecisionVerdict, GateResult, Verdict


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
    beyond: Mapping[str, int] = field(default_factory=dict)  # `gates.Judgement.beyond`
    group: str = ""  # `gates.Judgement.group`


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """The decision, before it has an id and a time."""

    verdict: DecisionVerdict
    status: DecisionStatus
    by: str  # "gates" or "bootstrap"
    because: str  # one sentence with the figures
    person: bool  # a person must approve; False with a pending promotion: apply it at once


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
    return replace(_hold(because, person=True), by=ruling.by)


def _decide(judgement: Judged, table: PromotionTable, situation: Situation) -> Ruling:
    failed = [result for result in judgement.gates if result.verdict == "FAIL"]
    if failed:
        return _failed(judgement, failed, table, situation)
    if situation.champion is None:
        return _first_champion(judgement, table, situation)
    if _without_result(judgement, MUST_SPEAK) or _undecided(judgement):
        person = not judgement.labels_wanted or bool(situation.beyond)
        return _hold(_what_is_missing(judgement, situation), person=person)
    because = _details_of(judgement.gates, ("overall", "fresh", "intents"))
    waits = asks_a_person(situation.champion, situation.refused, table)
    if situation.new_intents:
        waits = f"a person decides because of new intents: {_shortened(situation.new_intents)}"
    if waits:
        because += f"; {waits}"
    return Ruling(
        verdict="promote", status="pending", by="gates", because=because, person=bool(waits)
    )


def expired(since: datetime, table: PromotionTable, now: datetime) -> bool:
    """Whether a pending decision has waited longer than `hold_days` since its last event."""
    return now - since > timedelta(days=table.hold_days)


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
    return "; ".join(reasons) + _ways_out(situation)


def _ways_out(situation: Situation) -> str:
    """What a person may do where no label of the traffic can decide; "" where labels can."""
    if not situation.beyond:
        return ""
    needs = _shortened([f"{count} of {name}" for name, count in situation.beyond.items()])
    ways = [
        f"import golden rows ({needs})",
        "approve it this time with that unproven",
    ]
    if situation.group:
        ways.append(f"judge them together from now on by `{situation.group}`")
    return f"; traffic has too few texts to decide it, so a person does: {', or '.join(ways)}"


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
