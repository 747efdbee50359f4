"""What a person, the schedule or a source may ask of the wheel."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from flywheel import promotion
from flywheel.errors import Refused
from flywheel.records import Decision
from flywheel.store import Connection, adapters, decisions, turns
from flywheel.store.turns import Turn
from flywheel.turn import fresh, override
from flywheel.turn.apply import install, reconcile
from flywheel.turn.labels import reopen_held
from flywheel.turn.settling import settle
from flywheel.turn.table import FIRST_STATE
from flywheel.turn.wheel import Wheel


def request(wheel: Wheel, trigger: str) -> Turn:
    """Open a turn and wake the thread that runs it.

    Raises:
        Refused: another turn is open; the message names it.
    """
    with wheel.store.write() as con:
        running = turns.open_turns(con)
        if running:
            raise Refused(
                f"{running[0].id} is open, in step {running[0].state}",
                hint=f"wait for it, or `flywheel turn cancel {running[0].id}`",
            )
        fresh.set_aside(wheel, con)  # before anything of it is trained on
        turn = turns.open_turn(con, trigger, wheel.clock(), FIRST_STATE)
    wheel.wake.set()
    return turn


def cancel(wheel: Wheel, turn_id: str, by: str) -> Turn:
    """End an open turn; its worker is killed, what it bought is kept.

    Raises:
        NotFound: no such turn.
        Refused: it has ended already.
    """
    with wheel.store.write() as con:
        turn = turns.get(con, turn_id)
        if turn.state in turns.ENDED:
            raise Refused(f"{turn_id} has ended: {turn.state}")
        turns.close(con, turn_id, wheel.clock(), state="cancelled", error=f"cancelled by {by}")
    for job in _jobs_of(wheel, turn_id):
        wheel.executor.cancel(job)
    with wheel.store.read() as con:
        return turns.get(con, turn_id)


def approve(
    wheel: Wheel, decision_id: str, by: str, because: str, overridden: Sequence[str] = ()
) -> Decision:
    """Promote what waits; asking twice changes nothing.

    Args:
        wheel: the loop.
        decision_id: what waits, or what the gates rejected and an override lifts.
        by: who asked, as the socket or the token tells.
        because: kept in the audit trail.
        overridden: gates that did not pass and are overridden, where the configuration allows it.

    Raises:
        NotFound: no such decision.
        Refused: it was rejected, expired or superseded, or a gate stands against it; the message
            says which.
    """
    with wheel.store.write() as con:
        decision = decisions.get(con, decision_id)
        judged = decision
        if override.revives(decision, overridden):
            judged = dataclasses.replace(decision, status="pending")
        if promotion.ratify(judged, "approve", adapters.champion(con)):
            override.check(decision, overridden, wheel.config.promotion)
            _approve(con, wheel, decision, by, because, overridden)
        approved = decisions.get(con, decision_id)
    reconcile(wheel)
    return approved


def _approve(
    con: Connection,
    wheel: Wheel,
    decision: Decision,
    by: str,
    because: str,
    overridden: Sequence[str],
) -> None:
    """Count a person's approval; enough of them promote."""
    said = f" by override of {', '.join(sorted(overridden))}" if overridden else ""
    earlier = {
        event["by"]
        for event in decisions.events(con, decision.id)
        if event["what"].startswith("approved")
    }
    wanted, given = wheel.config.promotion.approvals, len(earlier | {by})
    if given < wanted:
        if by not in earlier:
            what = f"approved {given} of {wanted}{said}"
            decisions.set_status(
                con, decision.id, decision.status, by, because, wheel.clock(), what
            )
        return
    install(con, decision, by, because, wheel.clock(), f"applied{said}" if said else "")
    _close_held(con, wheel, decision)


def reject(wheel: Wheel, decision_id: str, by: str, because: str) -> Decision:
    """Refuse what waits; asking twice changes nothing.

    Raises:
        NotFound: no such decision.
        Refused: it was applied or has expired.
    """
    with wheel.store.write() as con:
        decision = decisions.get(con, decision_id)
        if promotion.ratify(decision, "reject", adapters.champion(con)):
            decisions.set_status(con, decision_id, "rejected", by, because, wheel.clock())
            adapters.set_state(con, decision.challenger, "rejected")
            _close_held(con, wheel, decision)
        return decisions.get(con, decision_id)


def expire(wheel: Wheel) -> list[str]:
    """Let go of decisions that waited longer than `hold_days`; judge again what can be decided."""
    now = wheel.clock()
    gone = []
    with wheel.store.write() as con:
        for decision in decisions.list_decisions(con, status="pending"):
            if promotion.expired(decision, wheel.config.promotion, now):
                because = f"nobody decided within {wheel.config.promotion.hold_days:g} days"
                decisions.set_status(con, decision.id, "expired", "schedule", because, now)
                _close_held(con, wheel, decision)
                gone.append(decision.id)
        settle(wheel, quiet=True)
        fresh.set_aside(wheel, con)
        if reopen_held(wheel, con):
            wheel.wake.set()
    return gone


def _close_held(con: Connection, wheel: Wheel, decision: Decision) -> None:
    if decision.turn and turns.get(con, decision.turn).state == "held":
        turns.close(con, decision.turn, wheel.clock(), state="done", error=None)


def _jobs_of(wheel: Wheel, turn_id: str) -> list[str]:
    folder = wheel.config.state_dir / "jobs"
    return [path.name for path in folder.glob(f"{turn_id}-*") if path.is_dir()]
