"""`flywheel run --once`: one turn, or the one that was left open, to its end."""

from __future__ import annotations

import asyncio
import logging

from flywheel import turn
from flywheel.errors import Refused
from flywheel.store import turns
from flywheel.turn import Wheel

log = logging.getLogger(__name__)

_LOOK_S = 0.2


async def one_turn(wheel: Wheel) -> int:
    """Wait for the end of one turn; returns the exit status: 0 where it ended well."""
    try:
        turn_id = await asyncio.to_thread(_open_turn, wheel)
    except turn.NotReady as refused:
        log.error("%s → %s", refused.message, refused.hint)  # noqa: TRY400
        return 1
    state = ""
    while state not in turns.ENDED:
        await asyncio.sleep(_LOOK_S)
        state = await asyncio.to_thread(_state, wheel, turn_id)
    log.info("%s ended: %s", turn_id, state, extra={"event": "daemon.once", "turn": turn_id})
    return 0 if state in ("done", "held") else 1


def _open_turn(wheel: Wheel) -> str:
    try:
        return turn.request(wheel, "run --once").id
    except turn.NotReady:
        raise
    except Refused:
        with wheel.store.read() as con:
            return turns.open_turns(con)[0].id


def _state(wheel: Wheel, turn_id: str) -> str:
    with wheel.store.read() as con:
        return str(turns.get(con, turn_id).state)
