"""Retention: old events move to the archive, and the database file is compacted.

Events are old after `[flywheel] keep_days` days.

A thread checks once an hour. It moves one day at a time and pauses in between, so that loading and
turns continue. Ingest is not affected, since it writes to the spool.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from flywheel.daemon.background_thread import BackgroundThread
from flywheel.errors import DiskFull
from flywheel.store import StoreFailed, rejected, retention
from flywheel.turn import Runtime

log = logging.getLogger(__name__)

LOOK_S = 3600.0
_FIRST_S = 30.0  # first check after the start, which is busy with other work


def before(now: datetime, keep_days: int) -> datetime:
    """Return the midnight before which events are older than `keep_days` whole days.

    >>> before(datetime(2026, 11, 22, 12, tzinfo=UTC), 30)
    datetime.datetime(2026, 10, 23, 0, 0, tzinfo=datetime.timezone.utc)
    """
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=keep_days)


class Retention:
    """The thread that archives old events."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._thread = BackgroundThread("retention", self._loop)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Stop after the current day's events; return whether the thread ended."""
        return self._thread.stop(timeout)

    def look(self) -> int:
        """Archive old events and compact the database; return the number of events moved.

        Raises:
            DiskFull: the disk is full.
        """
        days = self._runtime.config.flywheel.keep_days
        if days <= 0:
            return 0
        now = self._runtime.clock()
        store = self._runtime.store
        with store.write() as con:
            rejected.drop_before(con, before(now, days))
        moved = retention.archive_before(store, before(now, days), now, self._pause)
        if moved:
            log.info(
                "%d events older than %d days moved to the archive",
                moved,
                days,
                extra={"event": "archive.moved", "count": moved},
            )
        if not self._thread.stopping.is_set() and store.compact():
            size = store.path.stat().st_size
            log.info(
                "the database was written anew: %d MB",
                size // 1_000_000,
                extra={"event": "archive.compacted", "bytes": size},
            )
        return moved

    def _pause(self) -> bool:
        """Pause for other writers; return True when the thread must stop."""
        return self._thread.stopping.wait(0.05)

    def _loop(self) -> None:
        self._thread.stopping.wait(_FIRST_S)
        while not self._thread.stopping.is_set():
            try:
                self.look()
            except StoreFailed:
                return  # the daemon ends by itself
            except DiskFull as error:
                log.error("old events stay: %s", error.message, extra={"event": "disk.full"})  # noqa: TRY400
            except Exception:
                log.exception("old events stay", extra={"event": "archive.defect"})
            self._thread.stopping.wait(LOOK_S)
