"""Step 8: who is champion by the database; what serves follows in `turn.rollout`.

`_crown` alone writes the champion: for `install` (the gates, a person's approval, a rollback) and
for the adoption of production's own model. `install` checks every precondition from what is stored:
nothing that a caller says of approvals, states or files is believed. It ends the decisions and
turns that the change makes void, in the same transaction.

Where the server can be asked first (`protocols.AskedServing`), `put_forward` records a decision as
applying, and `turn.rollout` installs it once the server answers as the evaluated adapter did.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from flywheel import promotion
from flywheel.content import content_id
from flywheel.errors import Refused
from flywheel.protocols import AskedServing
from flywheel.records import Adapter, Decision
from flywheel.store import Connection, adapters, championship, decisions, turns
from flywheel.store.turns import ENDED, Turn
from flywheel.turn import adapter_files, arms
from flywheel.turn.runtime import Runtime, StepResult

EXTERNAL = "production"
"""Id of a champion that is known only by its stored answers."""


def apply(runtime: Runtime, turn: Turn) -> StepResult:
    """Make the challenger the champion in the database, or hold it if a person must approve now.

    Since `decide`, a person may have changed [promotion] or refused this adapter elsewhere.
    """
    with runtime.store.read() as con:
        decision = decisions.get(con, turn.record.decision)
        decided = decisions.events(con, decision.id)[0]
        waits = _asks_a_person(runtime, con, decision)
        adapter_files.refuse_changed(runtime, adapters.get(con, decision.challenger))
        first = is_asked_first(runtime, con, decision.challenger)
    replaces = "is to be proved, and replaces" if first else "replaces"
    if decision.status != "pending":  # earlier versions left the turn open then
        reason = f"{decision.id} is {decision.status} already, by {decision.by}"
        return StepResult(next_state="done", detail=reason, state="skipped")

    def hold(con: Connection) -> None:
        decisions.set_status(
            con, decision.id, "pending", decided["by"], waits, runtime.clock(), decisions.WAITS
        )

    def writes(con: Connection) -> None:
        put_forward(runtime, con, decision, decided["by"], decided["because"])

    if waits:
        return StepResult(
            next_state="held", detail=f"{decision.id} waits: {waits}", writes=hold, state="skipped"
        )
    return StepResult(
        next_state="watch",
        detail=f"{decision.challenger} {replaces} {decision.champion or 'nothing'}",
        writes=writes,
    )


def put_forward(
    runtime: Runtime,
    con: Connection,
    decision: Decision,
    by: str,
    because: str,
    overridden: Sequence[str] = (),
) -> list[str]:
    """Install the decision's challenger, or record that it is installed once it is proved.

    Arguments, result and errors as of `install`, every precondition of which holds now. A decision
    that is being applied already is superseded. One that is recorded as applying does not expire:
    it waits for its server, and says so.
    """
    if not is_asked_first(runtime, con, decision.challenger):
        return install(runtime, con, decision, by, because, overridden)
    standing = _admitted(runtime, con, decision, by, overridden)
    now = runtime.clock()
    ended = replace_waiting(con, _applying(con), standing.id, by, now, standing.turn)
    what = _words("applying", standing, by, overridden)
    decisions.set_status(con, standing.id, "applying", by, because, now, what)
    if standing.turn and by not in promotion.MACHINES:
        ended += end_turn(con, standing.turn, now, "done", None)
    runtime.rollout.wake.set()
    return ended


def is_asked_first(runtime: Runtime, con: Connection, adapter_id: str) -> bool:
    """Whether the server is asked for an adapter's answers before it may be champion.

    A production model that is known by its answers is nothing that could be asked.
    """
    return (
        isinstance(runtime.serving, AskedServing)
        and adapters.get(con, adapter_id).state != "external"
    )


def _applying(con: Connection) -> list[Decision]:
    found = decisions.applying(con)
    return [found] if found else []


def install(
    runtime: Runtime,
    con: Connection,
    decision: Decision,
    by: str,
    because: str,
    overridden: Sequence[str] = (),
) -> list[str]:
    """Make a decision's challenger the champion, and end what this makes void.

    Every other pending decision compares with a champion that no longer serves: it expires as
    superseded. Turns that are open for other decisions end. The decision's own turn ends too when
    a person applies it before the turn's own steps do.

    Args:
        runtime: the loop.
        con: the write transaction.
        decision: pending, or a rejection by the gates that a person overrides.
        by: the actor.
        because: reason for the audit trail.
        overridden: gates that the person overrides.

    Returns:
        Ids of the turns that were ended; cancel their jobs after the commit.

    Raises:
        Refused: a precondition of `promotion.admit` does not hold, the decision's status has
            changed, or the adapter's files are not those that were trained.
    """
    standing = _admitted(runtime, con, decision, by, overridden)
    now = runtime.clock()
    earlier = adapters.champion(con)
    _crown(runtime, con, standing.challenger, standing.id, now)
    arms.follow_champion(runtime, con, standing, earlier, now)
    what = _words("applied", standing, by, overridden)
    decisions.set_status(con, decision.id, "applied", by, because, now, what)
    ended = supersede(con, decision.id, by, now, of=decision.turn)
    if decision.turn and by not in promotion.MACHINES:
        ended += end_turn(con, decision.turn, now, "done", None)
    return ended


def _words(status: str, decision: Decision, by: str, overridden: Sequence[str]) -> str:
    """The event's words: what the gates had not proved stands in a person's approval."""
    judged = decision.verdict != "rollback" and by not in promotion.MACHINES
    trusted = promotion.unproven(decision, overridden) if judged else ()
    return promotion.words_of(status, overridden, trusted)


def _admitted(
    runtime: Runtime, con: Connection, decision: Decision, by: str, overridden: Sequence[str]
) -> Decision:
    """The decision as it stands, once everything that must hold before a promotion was checked.

    Raises:
        Refused: something does not hold; the message says what.
    """
    standing = decisions.get(con, decision.id)
    if standing.status != decision.status:
        raise Refused(f"{decision.id} is {standing.status} meanwhile: {standing.because}")
    decided = promotion.as_decided(standing)
    promotion.admit(decided, candidate_of(con, standing), by, overridden, runtime.config.promotion)
    refuse_unsafe(runtime, adapters.get(con, standing.challenger))
    return standing


def candidate_of(con: Connection, decision: Decision) -> promotion.Candidate:
    """What is on record of a decision's challenger, as `promotion.admit` asks for it."""
    adapter = adapters.get(con, decision.challenger)
    judged = decision.rests_on.get(decisions.FILES)
    return promotion.Candidate(
        state=adapter.state,
        champion=adapters.champion(con),
        has_served=adapters.has_served(con, adapter.id),
        approvals=promotion.approvals(decisions.events(con, decision.id)),
        refused=promotion.refused_by(decisions.settling_events(con), adapter.id),
        leaked=decisions.leaked_later(con, decision),
        files=content_id("files", adapter.files) if adapter.files else "",
        judged_files=(decision.id, judged) if judged else decisions.judged_files(con, adapter.id),
    )


def _crown(
    runtime: Runtime, con: Connection, adapter_id: str, decision_id: str | None, now: datetime
) -> None:
    """Write the champion; nothing else does.

    Raises:
        Refused: its files are not those that were trained, or nobody decided on the present one.
    """
    refuse_unsafe(runtime, adapters.get(con, adapter_id))
    adapters.set_champion(con, adapter_id, decision_id, now)


def refuse_unsafe(runtime: Runtime, adapter: Adapter) -> None:
    """Check that an adapter's files are those that were trained, and that nothing was forged.

    Raises:
        Refused: one of the two does not hold.
    """
    if runtime.forged:
        raise Refused(f"nothing becomes champion while {runtime.forged}", hint=championship.MENDED)
    adapter_files.refuse_changed(runtime, adapter)


def supersede(
    con: Connection, cause: str, by: str, now: datetime, of: str | None = None
) -> list[str]:
    """End decisions and turns that were judged against an earlier champion; return those turns.

    Args:
        con: the write transaction that changes the champion.
        cause: what changed it, for the audit trail.
        by: the actor.
        now: time of the event, UTC.
        of: the turn that made the change, which continues.
    """
    ended = replace_waiting(con, decisions.waiting(con), cause, by, now, of)
    for turn in turns.open_turns(con):
        if turn.id != of:
            ended += end_turn(con, turn.id, now, "cancelled", f"superseded by {cause} ({by})")
    return ended


def replace_waiting(
    con: Connection, waiting: Sequence[Decision], cause: str, by: str, now: datetime, of: str | None
) -> list[str]:
    """Expire unsettled decisions and end their turns; arguments and result as in `supersede`."""
    ended = []
    for decision in waiting:
        if decision.id != cause:
            decisions.set_status(con, decision.id, "expired", by, f"superseded by {cause}", now)
            if decision.turn and decision.turn != of:
                ended += end_turn(
                    con, decision.turn, now, "cancelled", f"superseded by {cause} ({by})"
                )
    return ended


def end_turn(
    con: Connection,
    turn_id: str,
    now: datetime,
    state: Literal["done", "cancelled"],
    error: str | None,
) -> list[str]:
    """Close an open or held turn; return [turn_id], or [] when it had ended already.

    Args:
        con: the write transaction.
        turn_id: the turn. A held turn always ends as done.
        now: time of the event, UTC.
        state: final state of an open turn.
        error: why an open turn ends early; None: it does not.
    """
    turn = turns.get(con, turn_id)
    if turn.state == "held":
        turns.close(con, turn_id, now, state="done")
    elif turn.state not in ENDED:
        turns.close(con, turn_id, now, state=state, error=error)
    else:
        return []
    return [turn_id]


def adopt_external(runtime: Runtime, con: Connection, by: str) -> list[str]:
    """Make production's own model the first champion; return the turns that this ends.

    That model is known by its stored answers only. Does nothing when there is a champion. Turns
    that were opened without a champion have nothing to compare with, so they end.
    """
    if adapters.champion(con) is not None:
        return []
    now = runtime.clock()
    adapters.add(
        con,
        Adapter(
            id=EXTERNAL,
            base="",
            recipe="",
            dataset="",
            parent=None,
            created_at=now,
            state="external",
        ),
    )
    _crown(runtime, con, EXTERNAL, None, now)
    because = f"{EXTERNAL} is the first champion, by the answers that were imported"
    decisions.record_act(con, "champion.adopted", by, because, now)
    return supersede(con, "the import of production's answers", "bootstrap", now)


def roll_back(
    runtime: Runtime, con: Connection, to: str | None, by: str, because: str
) -> tuple[str, list[str]]:
    """Record a rollback and put it forward; return its id and the turns that it ended.

    Args:
        runtime: the loop.
        con: the write transaction.
        to: an adapter that has been champion; None for the one before.
        by: who asked, as the socket or the token tells.
        because: kept in the audit trail.

    Raises:
        Refused: there is no earlier champion, `to` is the champion already or never was, a
            person refused it where two are asked for, or its files are gone or changed.
        NotFound: `to` is not an adapter.
    """
    current = adapters.champion(con)
    target = to or adapters.previous_champion(con)
    if target is None:
        raise Refused(
            "there is no earlier champion to go back to",
            hint="`flywheel adapters list` shows what there is",
        )
    adapters.get(con, target)
    decision = Decision(
        id=decisions.next_id(con),
        turn=None,
        challenger=target,
        champion=current,
        verdict="rollback",
        status="pending",
        by=by,
        because=because,
        at=runtime.clock(),
    )
    decisions.add(con, decision)
    return decision.id, put_forward(runtime, con, decision, by, because)


def _asks_a_person(runtime: Runtime, con: Connection, decision: Decision) -> str:
    """Why a person must approve this promotion; "" where the gates may apply it alone.

    A person's word that is being applied is not taken back by the gates.
    """
    for other in _applying(con):
        if other.id != decision.id and other.by not in promotion.MACHINES:
            return f"{other.id} is being applied, by the word of {other.by}"
    refused = promotion.refused_by(decisions.settling_events(con), decision.challenger)
    return promotion.asks_a_person(decision.champion, refused, runtime.config.promotion)
