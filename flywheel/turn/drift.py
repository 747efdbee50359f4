"""Did production change in the last whole week? Looked at once a week, by `diagnosis.alarms`.

Of the champion's own answers, so that a promotion is no alarm; the words of the texts are compared
with those of the seeds, which no traffic changes.
"""

from __future__ import annotations

import logging
from collections import Counter
from datetime import UTC, datetime, timedelta

from flywheel import diagnosis
from flywheel.diagnosis import Alarm, WeeklyAnswer
from flywheel.scripts import word_set
from flywheel.store import Connection, adapters, samples, traffic
from flywheel.turn.runtime import Runtime

log = logging.getLogger(__name__)

WEEK = timedelta(days=7)
_EPOCH = datetime(1970, 1, 5, tzinfo=UTC)  # a Monday
_BEFORE = 4  # weeks that the last one is compared with
_KEYS = 2000  # of a week, by lot


def week_of(moment: datetime) -> int:
    """Return the number of a moment's week, from Monday to Sunday, UTC."""
    return (moment - _EPOCH) // WEEK


def end_of(week: int) -> datetime:
    """Return when a week ended."""
    return _EPOCH + (week + 1) * WEEK


def look_at_traffic(runtime: Runtime) -> tuple[Alarm, ...]:
    """Return the alarms that were raised in the last whole week; works once a week and champion."""
    state, week = runtime.drift, week_of(runtime.clock()) - 1
    with runtime.store.read() as con:
        champion = adapters.champion(con)
        if (state.week, state.champion) != (week, champion):
            state.alarms = _compared(con, week, champion)
            state.week, state.champion = week, champion
            for one in state.alarms:
                if one.raised:
                    log.warning("%s", words(one), extra={"event": "drift.alarm", "alarm": one.name})
    return tuple(one for one in state.alarms if one.raised)


def words(alarm: Alarm) -> str:
    """An alarm as a problem: what moved, and how often it is a false one."""
    return (
        f"traffic changed last week ({alarm.name}): {alarm.detail}; such an alarm is false "
        f"{diagnosis.PER_YEAR:g} times a year"
    )


def _compared(con: Connection, week: int, champion: str | None) -> tuple[Alarm, ...]:
    adapter = champion
    if champion is not None and adapters.get(con, champion).state == "external":
        adapter = None
    vocabulary = frozenset(
        word
        for sample in samples.training(con)
        if sample.origin == "seed"
        for word in word_set(sample.text)
    )
    weeks = [_counts(con, week - back, adapter, vocabulary) for back in range(_BEFORE + 1)]
    return tuple(diagnosis.alarms(week, weeks[0], weeks[1:]))


def _counts(
    con: Connection, week: int, adapter: str | None, vocabulary: frozenset[str]
) -> dict[str, Counter[str]]:
    end = end_of(week)
    rows = traffic.one_a_key(con, end - WEEK, end, adapter, _KEYS)
    return diagnosis.counted((WeeklyAnswer(*row) for row in rows), vocabulary)
