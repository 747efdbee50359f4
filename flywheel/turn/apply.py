"""Steps 8 and 9: put the champion into service, and make sure that it serves.

`install` is the only way a decision changes the champion: for the gates, for a person's approval
and for a rollback alike. It refuses what was compared with another champion than the one that
serves, and it ends what its change makes void, in the same transaction.
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
"""The name of a champion that is known only by its stored answers."""


def apply(runtime: Runtime, turn: Turn) -> StepResult:
    """Make the challenger the champion in the database; where a person has the word now, wait.

    Since `decide`, a person may have changed [promotion] or refused this adapter elsewhere.
    """
    with runtime.store.read() as con:
        decision = decisions.get(con, turn.record.decision)
        decided = decisions.events(con, decision.id)[0]
        waits = _asks_a_person(runtime, con, decision)
        refuse_without_files(runtime, con, decision.challenger)
    if decision.status != "pending":  # earlier versions left the turn open then
        said = f"{decision.id} is {decision.status} already, by {decision.by}"
        return StepResult(next_state="done", detail=said, state="skipped")

    def hold(con: Connection) -> None:
        decisions.set_status(
            con, decision.id, "pending", decided["by"], waits, runtime.clock(), decisions.WAITS
        )

    def writes(con: Connection) -> None:
        if said := _asks_a_person(runtime, con, decision):
            raise Refused(
                f"{decision.id} is not applied: {said}", hint="see it with `flywheel review show`"
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
    """Serve what the database says. Nothing looks at how the new champion does: people do."""
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
    superseded. A turn that is open for another decision ends, and so does this decision's own
    turn where a person's word goes before its steps.

    Args:
        con: the write transaction, which makes it whole.
        decision: pending, or a rejection of the gates that a person overrides.
        expected: the champion that the decision was made against.
        by: whose word it is.
        because: kept in the audit trail.
        now: when.
        what: of the event, where it says more than the status.

    Returns:
        Turns that were ended; their jobs are to be cancelled after the commit.

    Raises:
        Refused: another champion serves than the one expected or compared with, or the decision
            does not stand any more.
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
    """End what was judged against a champion that serves no longer; returns the turns ended.

    Args:
        con: the write transaction that changes the champion.
        cause: what changed it, for the trail.
        by: who changed it.
        now: when.
        of: the turn that goes on, since the change is its own.
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
    """Let pending decisions expire, and end their turns; arguments and result of `supersede`."""
    ended = []
    for each in waiting:
        if each.id != cause:
            decisions.set_status(con, each.id, "expired", by, f"superseded by {cause}", now)
            if each.turn and each.turn != of:
                ended += end_turn(con, each.turn, now, "cancelled", f"superseded by {cause} ({by})")
    return ended


def end_turn(
    con: Connection,
    turn_id: str,
    now: datetime,
    state: Literal["done", "cancelled"],
    error: str | None,
) -> list[str]:
    """Close a turn that is open or held; [] when it has ended for good already.

    Args:
        con: the write transaction.
        turn_id: the turn; a held one is done, whatever `state` says.
        now: when.
        state: of a turn that was open.
        error: why it did not come to its end.
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
    """Let production's own model be the champion, where there is none; returns turns ended.

    It is known by its stored answers only. A turn that was opened without a champion compares
    with nothing, so it ends.
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
    """Let serving follow the champion in the database; called at boot and after every change.

    Threads take turns, so that the last one to come serves the last champion that was committed.
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
    """Refuse to make a champion of what cannot be served.

    Raises:
        NotFound: there is no such adapter.
        Refused: its folder is gone.
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
    """Decide for an earlier champion and install it; the decision's id, and turns that it ended.

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
    """Why the gates may not apply this by themselves; "" where they may."""
    refused = promotion.refused_by(decisions.settling_events(con), decision.challenger)
    return promotion.asks_a_person(decision.champion, refused, runtime.config.promotion)
