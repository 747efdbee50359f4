"""The schedule: turns that start at cron slots.

Five cron fields in UTC, so that no daylight-saving change skips a slot or runs it twice. Two
differences of APScheduler from cron are excluded by validation. It counts weekdays from Monday
where cron counts from Sunday, so weekdays must be given by name. It combines day-of-month and
weekday by "and" where cron uses "or", so one of the two must be `*`.

The last served slot is stored in the database. All slots that passed while the daemon was down or
a turn was running are served by one turn.
"""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger

from flywheel import turn
from flywheel.errors import ConfigError, Refused
from flywheel.store import turns
from flywheel.turn import NotReady, Runtime

log = logging.getLogger(__name__)

_LOOK_BACK = tuple(timedelta(days=days) for days in (1 / 24, 1, 32, 366, 5 * 366))


def trigger_of(cron: str) -> CronTrigger | None:
    """Return the trigger of a cron line in UTC; None for "".

    Raises:
        ConfigError: not five fields, a value out of range, a weekday by number, or both
            day-of-month and weekday.

    >>> trigger_of("30 2 * * sun").get_next_fire_time(None, datetime(2026, 11, 23, tzinfo=UTC))
    datetime.datetime(2026, 11, 29, 2, 30, tzinfo=datetime.timezone.utc)
    """
    fields = cron.split()
    if not fields:
        return None
    where = f'[schedule] cron = "{cron}"'
    if len(fields) != 5:
        raise ConfigError(
            f"{where} has {len(fields)} fields, not 5",
            hint="minute hour day month weekday, in UTC, e.g. 0 3 * * mon-fri",
        )
    if re.search(r"\d", fields[4]):
        raise ConfigError(
            f"{where}: weekday {fields[4]} is a number, which programs count from different days",
            hint="write it by name: sun, mon, tue, wed, thu, fri, sat, or a range like mon-fri",
        )
    if fields[2] != "*" and fields[4] != "*":
        raise ConfigError(
            f"{where}: day of month and weekday together mean different things to different crons",
            hint="keep one of the two and write * for the other",
        )
    try:
        return CronTrigger.from_crontab(cron, timezone=UTC)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}", hint="write five fields as cron has them") from error


def next_slot(trigger: CronTrigger, now: datetime) -> datetime | None:
    """Return the first slot after `now`; None when there is none."""
    slot: datetime | None = trigger.get_next_fire_time(None, now + timedelta(microseconds=1))
    return slot


def latest_slot(trigger: CronTrigger, after: datetime, now: datetime) -> datetime | None:
    """Return the last slot in (after, now]; None without one. Looks back at most five years."""
    for reach in _LOOK_BACK:
        begin = max(after, now - reach)
        latest, slot = None, next_slot(trigger, begin)
        while slot is not None and slot <= now:
            latest, slot = slot, next_slot(trigger, slot)
        if latest is not None or begin == after:
            return latest
    return None


class Schedule:
    """Opens a turn at each slot, and one for all missed slots.

    The trigger is held in memory and built from the configuration at each start. A changed cron
    line is a new schedule without missed slots.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._cron, self._trigger = _read(runtime)
        self._served = runtime.clock()  # slots up to here are served
        self._scheduler = BackgroundScheduler(
            timezone=UTC, executors={"default": ThreadPoolExecutor(1)}
        )

    def start(self) -> None:
        """Open one turn for missed slots, then wait for the next ones."""
        self._begin()
        self._scheduler.start()

    def reread(self) -> None:
        """Apply the current configuration; does nothing when the cron line is the same."""
        if not self._scheduler.running or _read(self._runtime)[0] == self._cron:
            return
        self._cron, self._trigger = _read(self._runtime)
        self._scheduler.remove_all_jobs()
        self._begin()

    def stop(self) -> None:
        """Start no further turn."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=True)

    def clock_moved(self, seconds: float) -> None:
        """Handle a jump of the clock: serve skipped slots, and reschedule by the new time."""
        log.warning("the clock moved by %.0f s", seconds, extra={"event": "schedule.clock_moved"})
        if self._trigger is not None:
            self._served = min(self._served, self._runtime.clock())
            self.fire()
            self._add_job()

    def next_turn(self) -> datetime | None:
        """Return the next slot, UTC; None without a schedule."""
        trigger = self._trigger
        return None if trigger is None else next_slot(trigger, self._runtime.clock())

    def fire(self) -> None:
        """Open one turn if a slot passed since the last served one."""
        trigger = self._trigger
        if trigger is None:
            return
        now = self._runtime.clock()
        slot = latest_slot(trigger, self._served, now)
        if slot is None:
            return
        self._request(slot, late=now - slot > timedelta(minutes=1))
        self._served = slot

    def _begin(self) -> None:
        if self._trigger is None:
            return
        self._served = self._last_served()
        self.fire()
        self._add_job()

    def _add_job(self) -> None:
        self._scheduler.add_job(
            self.fire,
            self._trigger,
            id="turn",
            replace_existing=True,
            coalesce=True,
            misfire_grace_time=None,  # the default of a second drops a late slot silently
            max_instances=1,
        )

    @property
    def _name(self) -> str:
        return f"cron {self._cron}"

    def _last_served(self) -> datetime:
        """The last served slot; at the first start of a schedule, the current time."""
        now = self._runtime.clock()
        with self._runtime.store.read() as con:
            last_slot: datetime | None = turns.last_slot(con, self._name)
        if last_slot is None:
            with self._runtime.store.write() as con:
                turns.record_slot(con, self._name, now)
            return now
        if last_slot > now:
            log.warning(
                "the clock is behind the last turn's slot; turns follow the clock as it is",
                extra={"event": "schedule.clock_back", "last_slot": last_slot.isoformat()},
            )
        return min(last_slot, now)

    def _request(self, slot: datetime, *, late: bool) -> None:
        facts: dict[str, Any] = {"event": "schedule.slot", "slot": slot.isoformat()}
        trigger = f"schedule {slot:%Y-%m-%dT%H:%MZ}" + (" (late)" if late else "")
        try:
            with self._runtime.store.write() as con:  # the slot and its turn, or neither
                opened = turn.request(self._runtime, trigger)
                turns.record_slot(con, self._name, slot)
            log.info("%s opened %s", trigger, opened.id, extra=facts | {"turn": opened.id})
        except Refused as refused:
            with self._runtime.store.write() as con:
                turns.record_slot(con, self._name, slot)
            level = logging.WARNING if isinstance(refused, NotReady) else logging.INFO
            log.log(level, "%s opens no turn: %s", trigger, refused.message, extra=facts)


def _read(runtime: Runtime) -> tuple[str, CronTrigger | None]:
    cron = " ".join(runtime.config.schedule.cron.split())
    return cron, trigger_of(cron)
