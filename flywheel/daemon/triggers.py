"""What opens a turn between the slots of the schedule?

Enough new feedback, or enough failing intents; but not soon after another turn, and not more
often than the day's budget of turns allows. The turn says what opened it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from flywheel import turn
from flywheel.api import views
from flywheel.config import TriggersTable
from flywheel.errors import Refused
from flywheel.store import health, turns
from flywheel.turn import Runtime

log = logging.getLogger(__name__)

LOOK_S = 60.0
"""The daemon looks for a reason this often."""
_DAY = timedelta(hours=24)
_EVER = timedelta(days=36500)
_NAMED = 3  # failing intents that a trigger names


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerState:
    """What the triggers go by."""

    feedback: int  # given since the last turn was opened
    failing: tuple[str, ...]
    since_last: timedelta | None  # since the last turn ended; None before the first
    opened_today: int  # turns of any kind, in 24 hours


def reason(table: TriggersTable, now: TriggerState) -> str | None:
    """What opens a turn now, in words; None when nothing does.

    >>> quiet = Situation(feedback=80, failing=(), since_last=None, opened_today=0)
    >>> reason(TriggersTable(feedback=50), quiet)
    '80 new feedback (50 open a turn)'
    """
    if now.opened_today >= table.turns_per_day:
        return None
    cooldown = timedelta(minutes=table.cooldown_minutes)
    if now.since_last is not None and timedelta(0) <= now.since_last < cooldown:
        return None  # a clock that was set back does not silence the triggers
    if table.feedback and now.feedback >= table.feedback:
        return f"{now.feedback} new feedback ({table.feedback} open a turn)"
    # Without new feedback a turn would learn from what the last one knew already.
    if table.failing_intents and now.feedback and len(now.failing) >= table.failing_intents:
        names = ", ".join(now.failing[:_NAMED]) + (" …" if len(now.failing) > _NAMED else "")
        return f"{len(now.failing)} failing intents ({table.failing_intents} open a turn): {names}"
    return None


class Triggers:
    """Looks at the runtime, and opens a turn when there is a reason."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def look(self) -> None:
        """Open a turn if there is a reason to; harmless while one is open."""
        table = self._runtime.config.schedule.triggers
        if not (table.feedback or table.failing_intents):
            return
        why = reason(table, self._situation(table, self._runtime.clock()))
        if why is None:
            return
        try:
            opened = turn.request(self._runtime, why)
        except Refused:
            return  # another turn was opened meanwhile
        log.info("%s: %s", opened.id, why, extra={"event": "trigger.fired", "turn": opened.id})

    def _situation(self, table: TriggersTable, now: datetime) -> TriggerState:
        with self._runtime.store.read() as con:
            latest = next(iter(turns.list_turns(con, 1)), None)
            since = min(latest.opened_at, now) if latest else now - _EVER
            feedback = health.feedback_since(con, since)
            opened = turns.opened_between(con, now - _DAY, now)
        ended = latest and (latest.closed_at or now)
        failing: tuple[str, ...] = ()
        if table.failing_intents and feedback:
            found = views.intents(self._runtime, failing_only=True)
            failing = tuple(item.intent for item in found)
        return TriggerState(
            feedback=feedback,
            failing=failing,
            since_last=now - ended if ended else None,
            opened_today=opened,
        )
