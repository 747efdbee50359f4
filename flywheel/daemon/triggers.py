"""Triggers: conditions that open a turn between the slots of the schedule.

A turn is opened by enough new feedback, enough failing intents or an alarm on traffic, but not
within the cooldown after another turn, and not beyond the daily limit. The turn records its
trigger.
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
"""Seconds between two checks of the triggers."""
_DAY = timedelta(hours=24)
_EVER = timedelta(days=36500)
_NAMED = 3  # failing intents that a trigger names


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerState:
    """Inputs of the triggers."""

    feedback: int  # number received since the last turn was opened
    failing: tuple[str, ...]
    since_last: timedelta | None  # since the last turn ended; None before the first
    opened_today: int  # turns opened within 24 hours, by any trigger
    alarms: tuple[str, ...] = ()  # raised by a week that ended since the last turn was opened


def reason(table: TriggersTable, now: TriggerState) -> str | None:
    """Return the trigger of a turn now, as a sentence; None when no condition holds.

    >>> quiet = TriggerState(feedback=80, failing=(), since_last=None, opened_today=0)
    >>> reason(TriggersTable(feedback=50), quiet)
    '80 new feedback (50 open a turn)'
    """
    if now.opened_today >= table.turns_per_day:
        return None
    cooldown = timedelta(minutes=table.cooldown_minutes)
    if now.since_last is not None and timedelta(0) <= now.since_last < cooldown:
        return None  # a clock that was set back must not disable the triggers
    if table.feedback and now.feedback >= table.feedback:
        return f"{now.feedback} new feedback ({table.feedback} open a turn)"
    # Without new feedback a turn would train on the same data as the last one.
    if table.failing_intents and now.feedback and len(now.failing) >= table.failing_intents:
        names = ", ".join(now.failing[:_NAMED]) + (" …" if len(now.failing) > _NAMED else "")
        return f"{len(now.failing)} failing intents ({table.failing_intents} open a turn): {names}"
    if table.drift and now.feedback and now.alarms:
        return f"traffic changed last week: {', '.join(now.alarms)}"
    return None


class Triggers:
    """Checks the conditions on the runtime, and opens turns."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def look(self) -> None:
        """Open a turn if a condition holds; does nothing while a turn is open."""
        table = self._runtime.config.schedule.triggers
        if not (table.feedback or table.failing_intents or table.drift):
            return
        why = reason(table, self._state(table, self._runtime.clock()))
        if why is None:
            return
        try:
            opened = turn.request(self._runtime, why)
        except Refused:
            return  # another turn was opened meanwhile
        log.info("%s: %s", opened.id, why, extra={"event": "trigger.fired", "turn": opened.id})

    def _state(self, table: TriggersTable, now: datetime) -> TriggerState:
        with self._runtime.store.read() as con:
            latest = next(iter(turns.list_turns(con, 1)), None)
            since = min(latest.opened_at, now) if latest else now - _EVER
            feedback = health.feedback_since(con, since)
            opened = turns.opened_between(con, now - _DAY, now)
        ended = latest and (latest.closed_at or now)
        failing: tuple[str, ...] = ()
        if table.failing_intents and feedback:
            failing_items = views.intents(self._runtime, failing_only=True)
            failing = tuple(item.intent for item in failing_items)
        ended_week = turn.end_of(turn.week_of(now) - 1)
        alarms: tuple[str, ...] = ()
        if table.drift and feedback and (latest is None or latest.opened_at < ended_week):
            alarms = tuple(one.name for one in turn.look_at_traffic(self._runtime))
        return TriggerState(
            alarms=alarms,
            feedback=feedback,
            failing=failing,
            since_last=now - ended if ended else None,
            opened_today=opened,
        )
