"""The turn's step table, and the one loop that walks it.

Each step reads state, acts, and returns what it wants written. Its outputs and the turn's next
state are committed in one transaction, so a crash at any point repeats one step and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from flywheel.errors import NO_ROOM, FlywheelError, Refused
from flywheel.store import DiskFull, turns
from flywheel.store.turns import Turn
from flywheel.turn.apply import apply, watch
from flywheel.turn.curate import curate
from flywheel.turn.diagnose import diagnose
from flywheel.turn.evaluate import evaluate
from flywheel.turn.judge import decide, gate
from flywheel.turn.runtime import StepResult, Wheel
from flywheel.turn.synthesize import synthesize
from flywheel.turn.train import train

log = logging.getLogger(__name__)

STEPS: Mapping[str, Callable[[Wheel, Turn], StepResult]] = {
    "diagnose": diagnose,
    "synthesize": synthesize,
    "curate": curate,
    "train": train,
    "evaluate": evaluate,
    "gate": gate,
    "decide": decide,
    "apply": apply,
    "watch": watch,
}
FIRST_STATE = "diagnose"


def run_until_idle(wheel: Wheel) -> None:
    """Run every open turn to its end, the oldest first. One thread calls this, never two."""
    while not wheel.stopping.is_set():
        with wheel.store.read() as con:
            waiting = turns.open_turns(con)
        if not waiting:
            return
        advance(wheel, waiting[0].id)


def advance(wheel: Wheel, turn_id: str) -> Turn:
    """Run the one step that the turn's state calls for, and commit it with the next state.

    A step that fails ends the turn with its reason; while the daemon stops, nothing is
    recorded and the step runs again at the next start.

    Raises:
        DiskFull: there is no room; nothing is recorded and the step waits to run again.
    """
    with wheel.store.write() as con:
        turn = turns.get(con, turn_id)
        if turn.state in turns.ENDED:
            return turn
        turns.start_step(con, turn_id, turn.state, wheel.clock())
    if not _step(wheel, turn):
        _step(wheel, turn, last=True)
    with wheel.store.read() as con:
        return turns.get(con, turn_id)


def _step(wheel: Wheel, turn: Turn, *, last: bool = False) -> bool:
    """Run the step and commit it; False when the commit was refused, so that it looks once more.

    What it read may have changed before the commit: the champion, or who has the word.
    """
    try:
        result = STEPS[turn.state](wheel, turn)
    except Exception as error:  # noqa: BLE001  every kind has its end there
        _stumble(wheel, turn, error)
        return True
    try:
        _finish(wheel, turn, result)
    except Refused as refused:
        if last:
            _fail(wheel, turn, refused.message, refused.hint)
        return last
    return True


def _finish(wheel: Wheel, turn: Turn, result: StepResult) -> None:
    now = wheel.clock()
    with wheel.store.write() as con:
        if turns.get(con, turn.id).state != turn.state:
            return  # cancelled meanwhile: the step's outputs are not wanted any more
        result.writes(con)
        turns.finish_step(
            con,
            turn.id,
            turn.state,
            now,
            state=result.state,
            detail=result.detail,
            next_state=result.next_state,
            outputs=result.outputs,
            cost_usd=result.cost_usd,
        )
    log.info(
        "%s %s: %s",
        turn.id,
        turn.state,
        result.detail,
        extra={**_fields(turn), "next_state": result.next_state},
    )


def _fail(wheel: Wheel, turn: Turn, message: str, hint: str) -> None:
    now = wheel.clock()
    with wheel.store.write() as con:
        if turns.get(con, turn.id).state != turn.state:
            return
        turns.finish_step(
            con,
            turn.id,
            turn.state,
            now,
            state="failed",
            detail=message,
            next_state="failed",
            outputs={},
            cost_usd=0.0,
        )
        turns.close(
            con, turn.id, now, state="failed", error=" → ".join(filter(None, (message, hint)))
        )
    log.error("%s failed in %s: %s", turn.id, turn.state, message, extra=_fields(turn))


def _stumble(wheel: Wheel, turn: Turn, error: Exception) -> None:
    """End the turn with the reason; where there is only no room, leave the step to run again."""
    if isinstance(error, DiskFull):
        raise error
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        where = wheel.config.state_dir
        raise DiskFull(
            f"no room for step {turn.state} of {turn.id} on the disk of {where}",
            hint="make room there; the step runs again by itself",
        ) from error
    if wheel.stopping.is_set():
        return
    if isinstance(error, FlywheelError):
        _fail(wheel, turn, error.message, error.hint)
        return
    log.error("step %s of %s broke", turn.state, turn.id, exc_info=error, extra=_fields(turn))
    _fail(wheel, turn, f"{type(error).__name__}: {error}", "see the log")


def _fields(turn: Turn) -> dict[str, str]:
    return {"event": "turn.step", "turn": turn.id, "step": turn.state}
