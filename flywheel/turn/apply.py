"""Steps 8 and 9: install the champion, and make serving follow the database.

`install` is the only function that changes the champion: for the gates, for a person's approval
and for a rollback. It refuses a decision that was compared with another champion than the serving
one. It ends the decisions and turns that the change makes void, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from flywheel import promotion
from flywheel.errors import Refused
from flywheel.records import Adapter, Decision
from flywheel.store import Connection, adapters, decisions, turns
from flywheel.store.turns import ENDED, Turn
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
        refuse_without_files(runtime, con, decision.challenger)
    if decision.status != "pending":  # earlier versions left the turn open then
        reason = f"{decision.id} is {decision.status} already, by {decision.by}"
        return StepResult(next_state="done", detail=reason, state="skipped")

    def hold(con: Connection) -> None:
        decisions.set_status(
            con, decision.id, "pending", decided["by"], waits, runtime.clock(), decisions.WAITS
        )

    def writes(con: Connection) -> None:
        if reason := _asks_a_person(runtime, con, decision):
            raise Refused(
                f"{decision.id} is not applied: {reason}", hint="see it with `flywheel review show`"
            )
        install(con, decision, turn.record.champion, decided["by"], decided["because"], now)

    if waits:
        return StepResult(
            next_state="held", detail=f"{decision.id} waits: {waits}", writes=hold, state="skipped"
        )
    now = runtime.clock()
    return StepResult(
        next_state="watch",
        detail=f"{decision.challenger} replaces {decision.champion or 'nothing'}",
        writes=writes,
    )


def watch(runtime: Runtime, turn: Turn) -> StepResult:
    """Serve the champion of the database. Its quality in production is watched by people only."""
    serving = reconcile(runtime)
    return StepResult(next_state="done", detail=f"{serving} serves")


def install(
    con: Connection,
    decision: Decision,
    expected: str | None,
    by: str,
    because: str,
    now: datetime,
    what: str = "",
) -> list[str]:
    """Make a decision's challenger the champion, and end what this makes void.

    Every other pending decision compares with a champion that no longer serves: it expires as
    superseded. Turns that are open for other decisions end. The decision's own turn ends too when
    a person applies it before the turn's own steps do.

    Args:
        con: the write transaction.
        decision: pending, or a rejection by the gates that a person overrides.
        expected: the champion that the decision was made against.
        by: the actor.
        because: reason for the audit trail.
        now: time of the event, UTC.
        what: description of the event; "" for the status itself.

    Returns:
        Ids of the turns that were ended; cancel their jobs after the commit.

    Raises:
        Refused: the serving champion is not the one expected or compared with, or the decision's
            status has changed.
    """
    standing = decisions.get(con, decision.id)
    if standing.status != decision.status:
        raise Refused(f"{decision.id} is {standing.status} meanwhile: {standing.because}")
    serves = adapters.champion(con)
    promotion.compares(decision, expected)
    promotion.compares(decision, serves)
    adapters.set_champion(con, decision.challenger, decision.id, now)
    decisions.set_status(con, decision.id, "applied", by, because, now, what)
    ended = supersede(con, decision.id, by, now, of=decision.turn)
    if decision.turn and by not in promotion.MACHINES:
        ended += end_turn(con, decision.turn, now, "done", None)
    return ended


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
    waiting = decisions.list_decisions(con, status="pending")
    ended = replace_waiting(con, waiting, cause, by, now, of)
    for turn in turns.open_turns(con):
        if turn.id != of:
            ended += end_turn(con, turn.id, now, "cancelled", f"superseded by {cause} ({by})")
    return ended


def replace_waiting(
    con: Connection, waiting: Sequence[Decision], cause: str, by: str, now: datetime, of: str | None
) -> list[str]:
    """Expire the pending decisions and end their turns; arguments and result as in `supersede`."""
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


def adopt_external(con: Connection, now: datetime) -> list[str]:
    """Make production's own model the first champion; return the turns that this ends.

    That model is known by its stored answers only. Does nothing when there is a champion. Turns
    that were opened without a champion have nothing to compare with, so they end.
    """
    if adapters.champion(con) is not None:
        return []
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
    adapters.set_champion(con, EXTERNAL, None, now)
    return supersede(con, "the import of production's answers", "bootstrap", now)


def reconcile(runtime: Runtime) -> str | None:
    """Make serving match the champion in the database; called at start and after every change.

    Calls are serialised, so the last one serves the last committed champion. Idempotent.
    """
    with runtime.reconciling:
        with runtime.store.read() as con:
            champion = adapters.champion(con)
            external = champion is not None and adapters.get(con, champion).state == "external"
        if champion is None or external:  # after a restore, or a rollback to a production model
            runtime.serving.retire()
        else:
            runtime.serving.promote(champion)
    return champion


def refuse_without_files(runtime: Runtime, con: Connection, adapter_id: str) -> None:
    """Check that an adapter's folder exists, so that it can be served.

    Raises:
        NotFound: there is no such adapter.
        Refused: its folder is missing.
    """
    if adapters.get(con, adapter_id).state == "external":
        return
    if not (runtime.adapters_dir / adapter_id).is_dir():
        raise Refused(
            f"{adapter_id} has no folder in {runtime.adapters_dir}; nothing was changed",
            hint="put the folder back from a copy, or take another: `flywheel adapters list`",
        )


def roll_back(
    runtime: Runtime, con: Connection, to: str | None, by: str, because: str, now: datetime
) -> tuple[str, list[str]]:
    """Record a rollback decision and install it; return its id and the turns that it ended.

    Args:
        runtime: the loop.
        con: the write transaction.
        to: an adapter that has been champion; None for the one before.
        by: who asked, as the socket or the token tells.
        because: kept in the audit trail.
        now: when.

    Raises:
        Refused: there is no earlier champion, `to` is the champion already or never was, or its
            files are gone.
        NotFound: `to` is not an adapter.
    """
    current = adapters.champion(con)
    target = to or adapters.previous_champion(con)
    if target is None:
        raise Refused(
            "there is no earlier champion to go back to",
            hint="`flywheel adapters list` shows what there is",
        )
    if target == current:
        raise Refused(f"{target} is the champion already")
    refuse_without_files(runtime, con, target)
    if not adapters.has_served(con, target):
        raise Refused(
            f"{target} has never been champion, so there is no going back to it",
            hint="approve the decision about it: `flywheel review list`",
        )
    decision = Decision(
        id=decisions.next_id(con),
        turn=None,
        challenger=target,
        champion=current,
        verdict="rollback",
        status="pending",
        by=by,
        because=because,
        at=now,
    )
    decisions.add(con, decision)
    return decision.id, install(con, decision, current, by, because, now)


def _asks_a_person(runtime: Runtime, con: Connection, decision: Decision) -> str:
    """Why a person must approve this promotion; "" where the gates may apply it alone."""
    refused = promotion.refused_by(decisions.settling_events(con), decision.challenger)
    return promotion.asks_a_person(decision.champion, refused, runtime.config.promotion)
