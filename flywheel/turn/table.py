"""The turn's step table, and the loop that runs it.

Each step reads state, acts, and returns what is to be written. Its outputs and the turn's next
state are committed in one transaction, so a crash at any point repeats one step and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from flywheel.errors import NO_ROOM, FlywheelError, Refused
from flywheel.store import DiskFull, turns
from flywheel.store.turns import Turn
from flywheel.turn.apply import apply
from flywheel.turn.curate import curate
from flywheel.turn.diagnose import diagnose
from flywheel.turn.evaluate import evaluate
from flywheel.turn.judge import decide, gate
from flywheel.turn.rollout import watch
from flywheel.turn.runtime import Runtime, StepResult
from flywheel.turn.synthesize import synthesize
from flywheel.turn.train import train

log = logging.getLogger(__name__)

STEPS: Mapping[str, Callable[[Runtime, Turn], StepResult]] = {
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


def run_until_idle(runtime: Runtime) -> None:
    """Run every open turn to its end, the oldest first. One thread calls this, never two."""
    while not runtime.stopping.is_set():
        with runtime.store.read() as con:
            waiting = turns.open_turns(con)
        if not waiting:
            return
        advance(runtime, waiting[0].id)


def advance(runtime: Runtime, turn_id: str) -> Turn:
    """Run the step of the turn's state, and commit it with the next state.

    A failing step ends the turn with the reason. While the daemon stops, nothing is recorded, and
    the step runs again at the next start.

    Raises:
        DiskFull: the disk is full; nothing is recorded, and the step runs again later.
    """
    with runtime.store.write() as con:
        turn = turns.get(con, turn_id)
        if turn.state in turns.ENDED:
            return turn
        turns.start_step(con, turn_id, turn.state, runtime.clock())
    if not _step(runtime, turn):
        _step(runtime, turn, last=True)
    with runtime.store.read() as con:
        return turns.get(con, turn_id)


def _step(runtime: Runtime, turn: Turn, *, last: bool = False) -> bool:
    """Run the step and commit it; False when the commit was refused and one retry is left.

    State that the step read may have changed before the commit: the champion, or [promotion].
    """
    try:
        result = STEPS[turn.state](runtime, turn)
    except Exception as error:  # noqa: BLE001  every kind is handled there
        _stumble(runtime, turn, error)
        return True
    try:
        _finish(runtime, turn, result)
    except Refused as refused:
        if last:
            _fail(runtime, turn, refused.message, refused.hint)
        return last
    return True


def _finish(runtime: Runtime, turn: Turn, result: StepResult) -> None:
    now = runtime.clock()
    with runtime.store.write() as con:
        if turns.get(con, turn.id).state != turn.state:
            return  # cancelled meanwhile: the step's outputs are discarded
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


def _fail(runtime: Runtime, turn: Turn, message: str, hint: str) -> None:
    now = runtime.clock()
    with runtime.store.write() as con:
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
            cost_usd=0.0,
        )
        turns.close(
            con, turn.id, now, state="failed", error=" → ".join(filter(None, (message, hint)))
        )
    log.error("%s failed in %s: %s", turn.id, turn.state, message, extra=_fields(turn))


def _stumble(runtime: Runtime, turn: Turn, error: Exception) -> None:
    """End the turn with the reason; on a full disk or while stopping, leave the step to run again.

    Raises:
        DiskFull: the disk is full.
    """
    if isinstance(error, DiskFull):
        raise error
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        where = runtime.config.state_dir
        raise DiskFull(
            f"no room for step {turn.state} of {turn.id} on the disk of {where}",
            hint="make room there; the step runs again by itself",
        ) from error
    if runtime.stopping.is_set():
        return
    if isinstance(error, FlywheelError):
        _fail(runtime, turn, error.message, error.hint)
        return
    log.error("step %s of %s broke", turn.state, turn.id, exc_info=error, extra=_fields(turn))
    _fail(runtime, turn, f"{type(error).__name__}: {error}", "see the log")


def _fields(turn: Turn) -> dict[str, str]:
    return {"event": "turn.step", "turn": turn.id, "step": turn.state}
