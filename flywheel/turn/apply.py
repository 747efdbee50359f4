"""Steps 8 and 9: put the champion into service, and make sure that it serves.

`install` and `rollback` are the only ways a champion changes: for the gates, the command line
and the page alike.
"""

from __future__ import annotations

from datetime import datetime

from flywheel.errors import Refused
from flywheel.records import Decision
from flywheel.store import Connection, adapters, decisions
from flywheel.store.turns import Turn
from flywheel.turn.step import StepResult
from flywheel.turn.wheel import Wheel


def apply(wheel: Wheel, turn: Turn) -> StepResult:
    """Make the challenger the champion, in the database first and then in service."""
    with wheel.store.read() as con:
        decision = decisions.get(con, turn.cursor["decision"])

    def writes(con: Connection) -> None:
        install(con, decision, decision.by, decision.because, wheel.clock())

    return StepResult(
        next_state="watch",
        detail=f"{decision.challenger} replaces {decision.champion or 'nothing'}",
        writes=writes,
    )


def watch(wheel: Wheel, turn: Turn) -> StepResult:
    """Serve what the database says. Nothing looks at how the new champion does: people do."""
    serving = reconcile(wheel)
    return StepResult(next_state="done", detail=f"{serving} serves")


def install(
    con: Connection, decision: Decision, by: str, because: str, now: datetime, what: str = ""
) -> None:
    """Record the promotion; the caller's transaction makes it whole. Harmless when repeated."""
    if adapters.champion(con) == decision.challenger:
        return
    adapters.set_champion(con, decision.challenger, decision.id, now)
    decisions.set_status(con, decision.id, "applied", by, because, now, what)


def reconcile(wheel: Wheel) -> str | None:
    """Let serving follow the champion in the database; called at boot and after every change."""
    with wheel.store.read() as con:
        champion = adapters.champion(con)
        external = champion is not None and adapters.get(con, champion).state == "external"
    if champion is None or external:  # after a restore, or a rollback to a production model
        wheel.serving.retire()
    else:
        wheel.serving.promote(champion)
    return champion


def rollback(wheel: Wheel, to: str | None, by: str, because: str) -> Decision:
    """Go back to an earlier champion.

    Args:
        wheel: the loop.
        to: an adapter that has been champion; None for the one before.
        by: who asked, as the socket or the token tells.
        because: kept in the audit trail.

    Raises:
        Refused: there is no earlier champion, or `to` is the champion already.
        NotFound: `to` is not an adapter.
    """
    now = wheel.clock()
    with wheel.store.write() as con:
        current = adapters.champion(con)
        target = to or adapters.previous_champion(con)
        if target is None:
            raise Refused("there is no earlier champion to go back to")
        if target == current:
            raise Refused(f"{target} is the champion already")
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
        adapters.set_champion(con, target, decision.id, now)
        decisions.set_status(con, decision.id, "applied", by, because, now)
        applied = decisions.get(con, decision.id)
    reconcile(wheel)
    return applied
