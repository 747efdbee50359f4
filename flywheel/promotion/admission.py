"""Who may put an adapter into service: whose approvals count, and what must be true before.

Pure functions of decisions and what is on record of their adapters; no I/O, no clock.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from flywheel.config.tables import PromotionTable
from flywheel.errors import Refused
from flywheel.records import Decision, DecisionEvent

MUST_SPEAK = ("hygiene", "overall", "intents")
"""Gates that must all PASS before a champion is replaced."""

MACHINES = frozenset(
    {"gates", "bootstrap", "schedule", "restore", "start", "training", "parity", "watch"}
)
"""Actors of the chain that are not people."""

WATCH = "watch"
"""The one machine that may roll back: in mode "rollback", which a person set."""

NEVER_OVERRIDDEN = frozenset({"hygiene"})
"""Gates that no person may override: a leak into training makes every other figure worthless."""

NOBODY = frozenset({"", "token", "root", "unknown", "nobody"})
"""Names of actors that are nobody in particular: several people may act by each of them."""

UNSETTLED = frozenset({"pending", "applying", "parity_failed"})
"""Statuses after which a person may still have a word: a failed parity may be tried again."""

_ACTOR = re.compile(r"(.+) \((?:uid \d+|token [^()]*)\)")


def person_of(actor: str) -> str:
    """Return the login name of the person behind an actor; "" for nobody in particular.

    A person is one by socket and by token, by their own uid and by another's. Machines, root, a
    uid without an account and a token without a person are nobody in particular.

    >>> [person_of(actor) for actor in ("ada (uid 1000)", "ada (token ops)", "root (uid 0)")]
    ['ada', 'ada', '']
    """
    found = _ACTOR.fullmatch(actor)
    name = found[1] if found else actor
    unnamed = name in NOBODY or name.startswith("token ") or actor in MACHINES
    return "" if unnamed else name


def people(actors: Sequence[str]) -> int:
    """Return how many different people acted; nobody in particular is one only when alone."""
    named = {person_of(actor) for actor in actors} - {""}
    return len(named) or min(len(actors), 1)


def approvals(events: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the actors whose approvals of a decision stand.

    Args:
        events: {by, what} of the decision, oldest first. A rejection or an expiry ends what was
            approved before.
    """
    standing: list[str] = []
    for event in events:
        if event["what"].startswith("approved"):
            standing.append(event["by"])
        elif event["what"].startswith(("rejected", "expired")):
            standing = []
    return tuple(standing)


def approved(decision_id: str, standing: Sequence[str], by: str, table: PromotionTable) -> bool:
    """Whether one more approval is enough; False: another person has to approve too.

    Args:
        decision_id: of the decision, for the message.
        standing: `approvals` of the decision.
        by: the actor who approves now.
        table: the current [promotion].

    Raises:
        Refused: it would count for nothing, since this person approved before or is nobody in
            particular beside others.
    """
    count, needed = people([*standing, by]), table.approvals
    if count >= needed:
        return True
    person = person_of(by)
    if person and person in map(person_of, standing):
        why = f"{person} has approved {decision_id} already ({count} of {needed})"
    elif not person and standing:
        why = f"{by} is nobody in particular, and counts beside nobody ({count} of {needed})"
    else:
        return False
    raise Refused(
        f"{why}; nothing was changed, and your reason was not recorded",
        hint="another person has to approve it, by an account or a token of their own",
    )


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
        elif (
            event.challenger == adapter
            and event.status == "rejected"
            and event.verdict != "rollback"  # who takes a rollback back refuses no adapter
        ):
            refusal = f"{event.by} rejected {adapter} in {event.decision}"
        elif event.challenger == adapter and event.status == "applied":
            refusal = ""
    return refusal


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


def ratify(
    decision: Decision, action: Literal["approve", "reject"], champion_now: str | None
) -> None:
    """Check that a person's approval or rejection can still be applied.

    Raises:
        Refused: the decision is settled, has expired, or was made against a champion that no
            longer serves; the message says by whom and why.
    """
    if decision.status == "applying" and action == "approve":
        raise Refused(
            f"{decision.id} is being applied already, by {decision.by}; nothing was changed, and "
            "your reason was not recorded",
            hint="`flywheel status` says what it waits for; "
            f"`flywheel review reject {decision.id}` ends it",
        )
    if decision.status not in UNSETTLED:
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


def gates_to_override(decision: Decision) -> tuple[str, ...]:
    """Return the gates that each approving person must override by name: those that FAILed.

    Without those that nobody may override, for which there is no such word.
    """
    return tuple(
        line.gate
        for line in decision.gates
        if line.verdict == "FAIL" and line.gate not in NEVER_OVERRIDDEN
    )


def gates_not_passed(decision: Decision) -> tuple[str, ...]:
    """Return the gates that had a word and did not pass."""
    return tuple(line.gate for line in decision.gates if line.verdict != "PASS")


def unproven(decision: Decision, overridden: Sequence[str] = ()) -> tuple[str, ...]:
    """Return what an approval takes on trust: gates that are INCONCLUSIVE, or had no word and must.

    Args:
        decision: as it was made.
        overridden: gates that the approval overrides by name, which are told as such.
    """
    if decision.verdict == "rollback":
        return ()
    undecided = [line.gate for line in decision.gates if line.verdict == "INCONCLUSIVE"]
    must = MUST_SPEAK if decision.champion is not None else ("hygiene",)
    silent = [name for name in must if _verdict(decision, name) is None]
    return tuple(name for name in (*silent, *undecided) if name not in overridden)


def check_override(decision: Decision, overridden: Sequence[str], table: PromotionTable) -> None:
    """Check that an approval overrides each gate that FAILed, where the configuration allows it.

    A gate that is INCONCLUSIVE needs no override, and may be named beside the others.

    Raises:
        Refused: a gate is missing, may not be overridden, or passed; the message names it.
    """
    failed, not_passed = gates_to_override(decision), gates_not_passed(decision)
    for name in overridden:
        if name in NEVER_OVERRIDDEN:
            raise Refused(f"{name} can never be overridden", hint="mend it, and start a new turn")
        if name not in not_passed:
            raise Refused(f"{name} needs no override: it passed, or had no word")
        if name in failed and name not in table.allow_override:
            raise Refused(
                f"{name} failed, and may not be overridden here",
                hint=f"{_allowing([name], table)}, then `flywheel reload`",
            )
    if missing := [name for name in failed if name not in overridden]:
        allowed = all(name in table.allow_override for name in missing)
        raise Refused(
            f"{decision.id}: {', '.join(missing)} did not pass",
            hint="approve with " + " ".join(f"--override {name}" for name in missing)
            if allowed
            else "a gate that failed is approved only where the configuration allows it: "
            + _allowing(missing, table),
        )


def _allowing(names: Sequence[str], table: PromotionTable) -> str:
    """The line of config.toml under which these gates may be overridden."""
    listed = sorted({*table.allow_override, *names} - NEVER_OVERRIDDEN)
    quoted = ", ".join(f'"{name}"' for name in listed)
    return f"[promotion] allow_override = [{quoted}]"


def lifts_rejection(decision: Decision, overridden: Sequence[str]) -> bool:
    """Whether the override lifts a rejection by the gates; a person's rejection stays."""
    failed = bool(overridden) and bool(gates_to_override(decision))
    return failed and decision.status == "rejected" and decision.by == "gates"


# Between a word and its effect: the decision is applying while its server is asked.


def as_decided(decision: Decision) -> Decision:
    """The decision as it was when it was put forward to be applied."""
    put_forward = decision.status in ("applying", "parity_failed")
    return replace(decision, status="pending") if put_forward else decision


_BY_OVERRIDE = " by override of "
_UNPROVEN = "; unproven: "


def words_of(status: str, overridden: Sequence[str], unproven: Sequence[str] = ()) -> str:
    """What an event says of its status, of the gates that a person overrode for it, and of what
    that person took on trust.

    >>> words_of("applying", ["latency", "intents"], ["fresh"])
    'applying by override of intents, latency; unproven: fresh'
    """
    by = f"{_BY_OVERRIDE}{', '.join(sorted(overridden))}" if overridden else ""
    trusted = f"{_UNPROVEN}{', '.join(sorted(unproven))}" if unproven else ""
    return f"{status}{by}{trusted}"


def overridden_in(what: str) -> tuple[str, ...]:
    """The gates that `words_of` named as overridden.

    >>> overridden_in("applying by override of intents, latency; unproven: fresh")
    ('intents', 'latency')
    """
    named = what.partition(_UNPROVEN)[0].partition(_BY_OVERRIDE)[2]
    return tuple(filter(None, named.split(", ")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What is on record of the adapter that a decision would put into service."""

    state: str  # of the adapter, as registered
    champion: str | None  # that serves now
    has_served: bool  # it was champion before
    approvals: tuple[str, ...] = ()  # `approvals` of the decision
    refused: str = ""  # `refused_by` of the adapter
    leaked: str = ""  # a later decision in which it failed hygiene
    files: str = ""  # id of its files' hashes, as registered; "" for one that has none
    judged_files: tuple[str, str] = ("", "")  # the decision that judged it, and their id then


def admit(
    decision: Decision,
    candidate: Candidate,
    by: str,
    overridden: Sequence[str],
    table: PromotionTable,
) -> None:
    """Check that a decision may put its adapter into service now.

    Args:
        decision: as it stands.
        candidate: of its challenger.
        by: the actor who applies it: the gates, a person who approves or who rolls back.
        overridden: gates that the person overrides.
        table: the current [promotion].

    Raises:
        Refused: it may not; the message says why.
    """
    if decision.challenger == candidate.champion:
        raise Refused(f"{decision.challenger} is the champion already")
    _are_judged(decision.challenger, candidate)
    if decision.verdict == "rollback":
        compares(decision, candidate.champion)
        _goes_back(decision, candidate, by, table)
    elif by in MACHINES:
        compares(decision, candidate.champion)
        _passed_alone(decision, candidate, table)
    else:
        may_approve(decision, candidate, overridden, table)
        if not approved(decision.id, candidate.approvals, by, table):
            raise Refused(f"{decision.id} needs another person's approval")


def check_looked(decision: Decision, looked: str) -> None:
    """Check that who approves has seen the texts that the gate `changed_answers` found.

    Args:
        decision: as it was made; `rests_on["look"]` is the word that stands beside the texts.
        looked: the word, as the person repeats it.

    Raises:
        Refused: the word is missing or another.
    """
    word = decision.rests_on.get("look", "")
    if word and looked != word:
        raise Refused(
            f"{decision.id}: few raters taught what turns other texts, and a person has to look",
            hint=f"`flywheel review show {decision.id}` shows the texts, and how to approve then",
        )


def may_approve(
    decision: Decision, candidate: Candidate, overridden: Sequence[str], table: PromotionTable
) -> None:
    """Check everything that an approval needs, but for the number of people.

    Raises:
        Refused: the decision is settled, compares with another champion, a gate stands against
            it, nobody checked for leaks, or the adapter was rejected elsewhere.
    """
    lifted = lifts_rejection(decision, overridden)
    ratify(
        replace(decision, status="pending") if lifted else decision, "approve", candidate.champion
    )
    if decision.verdict == "rollback":  # that the watch proposes: it is judged by production
        _are_judged(decision.challenger, candidate)
        _goes_back(as_decided(decision), candidate, "", table)
        return
    check_override(decision, overridden, table)
    _are_judged(decision.challenger, candidate)
    hygiene = _verdict(decision, "hygiene")
    if hygiene is None or hygiene == "FAIL" or candidate.leaked:
        where = candidate.leaked or decision.id
        what = "had no word" if hygiene is None else f"failed in {where}"
        raise Refused(
            f"{decision.challenger} may not serve: hygiene {what}",
            hint="it can never be overridden: mend it, and start a new turn",
        )
    allowed = ("challenger", "rejected") if decision.verdict == "reject" else ("challenger",)
    if candidate.state not in allowed:
        raise Refused(
            f"{decision.challenger} is {candidate.state} since {decision.id} was made",
            hint="see the later decision about it: `flywheel review list`",
        )


def _goes_back(decision: Decision, candidate: Candidate, by: str, table: PromotionTable) -> None:
    """One person may go back to a former champion, the watch too, and nobody to anything else."""
    target = decision.challenger
    if (by in MACHINES and by != WATCH) or decision.status != "pending":
        raise Refused(f"{decision.id} is no person's rollback that waits to be applied")
    if not candidate.has_served:
        raise Refused(
            f"{target} has never been champion, so there is no going back to it",
            hint="approve the decision about it: `flywheel review list`",
        )
    if candidate.refused and table.approvals > 1:
        raise Refused(
            f"{candidate.refused}, and {table.approvals} people are asked for here",
            hint="roll back to another former champion, or start a turn that judges it again",
        )


def _passed_alone(decision: Decision, candidate: Candidate, table: PromotionTable) -> None:
    """The gates promote alone what passed every gate that must speak, and nobody is asked for."""
    if reason := asks_a_person(decision.champion, candidate.refused, table):
        raise Refused(
            f"{decision.id} is not applied: {reason}", hint="see it with `flywheel review show`"
        )
    needed = ("hygiene",) if decision.champion is None else MUST_SPEAK
    silent = [name for name in needed if _verdict(decision, name) is None]
    waits = decision.rests_on.get("waits_for", "nobody") != "nobody"
    if silent or waits or gates_not_passed(decision) or decision.verdict != "promote":
        raise Refused(
            f"{decision.id} is not for the gates to apply",
            hint="a person decides: `flywheel review show`",
        )
    if decision.status != "pending" or candidate.state != "challenger" or candidate.leaked:
        raise Refused(
            f"{decision.id} is {decision.status}, and {decision.challenger} {candidate.state}",
            hint="see the later decision about it: `flywheel review list`",
        )


def _are_judged(adapter: str, candidate: Candidate) -> None:
    """The registered files are those that were judged; the chain of decision events covers both."""
    decision, judged = candidate.judged_files
    if judged and candidate.files and judged != candidate.files:
        raise Refused(
            f"the registered files of {adapter} are not those that {decision} judged",
            hint="start a new turn, which judges what is there now: `flywheel turn start`",
        )


def _verdict(decision: Decision, gate: str) -> str | None:
    """A gate's verdict; None when it had no word."""
    return next((line.verdict for line in decision.gates if line.gate == gate), None)
