"""Closed segments of the spool into the store, so that each acknowledged event is there once.

A segment is loaded in one transaction, in which an id that is known already is passed over; it is
deleted only after a checkpoint has put the transaction into the database file. So a crash
repeats a segment at most, and a repeat changes nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from flywheel.errors import DiskFull
from flywheel.spool import Spool
from flywheel.store import (
    Store,
    StoreFailed,
    events,
    lower_priority,
    rejected,
    segments,
    spooled,
)
from flywheel.store.events import Stored

log = logging.getLogger(__name__)

LOAD_S = 1.0  # acknowledged events are in the tables after about this long
CHECKPOINT_S = 10.0  # loaded segments are kept this long at most, where a checkpoint succeeds
CHECKPOINT_BYTES = 64 << 20
GROUP_BYTES = 32 << 20  # of segments, loaded in one transaction
FAILURES = 3  # to load, in a row, are a problem
REFUSALS = 6  # checkpoints refused in a row are a problem: about a minute
_FULL = {"event": "disk.full"}


class Loader:
    """One thread that loads what the spool holds. `drain` may be called from any thread."""

    def __init__(self, store: Store, spool: Spool, *, rejected_bytes: int = 64 << 20) -> None:
        """Of the lines that were not taken, the newest `rejected_bytes` are kept."""
        self._rejected_bytes = rejected_bytes
        self.spool = spool
        self._store = store
        self._loading = threading.Lock()
        self._loaded: list[Path] = []  # in the tables, not yet in the database file
        self._kept_since = time.monotonic()
        self._refused = 0  # checkpoints in a row
        self.failures = 0  # to load what waits, in a row
        self._why = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="loader", daemon=True)
        self._behind = True  # what the last process left is not in the database file yet
        self.failure: StoreFailed | None = None  # the database is lost: the process must end
        self.rows = 0  # read from segments since the start
        self.stored = Stored()  # what became of them

    def start(self) -> None:
        """Load what a crash left behind, then what arrives. Returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Load what was acknowledged and end; what cannot be loaded stays in the spool."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self.spool.close()
        try:
            self.drain()
            self._checkpoint()
        except (StoreFailed, DiskFull) as error:
            log.error("the spool keeps its events: %s", error.message)  # noqa: TRY400

    def drain(self) -> None:
        """Load every event that was acknowledged before the call.

        Raises:
            StoreFailed: the database can no longer be used; the spool keeps the events.
        """
        with self._loading:
            known = set(self._loaded)
            waiting = [path for path in self.spool.close_segment() if path not in known]
            for group in _groups(waiting):
                self._load(group)

    def empty(self) -> bool:
        """Load what was acknowledged and delete its segments; False where some must stay.

        Raises:
            StoreFailed: the database can no longer be used.
        """
        self.drain()
        self._checkpoint()
        return not self._loaded

    def problems(self) -> tuple[str, ...]:
        """What is wrong, in words; empty when all is well."""
        found = []
        if self.failure is not None or not self._thread.is_alive():
            found.append("acknowledged events are not loaded: restart the daemon")
        if not self.spool.alive():
            found.append("events cannot be taken: restart the daemon")
        if self.failures >= FAILURES:
            found.append(
                f"acknowledged events could not be loaded {self.failures} times in a row "
                f"({self._why}), see `flywheel log`; trying again"
            )
        if self._refused >= REFUSALS:
            found.append("no checkpoint succeeds, so the spool grows: restart the daemon")
        if self.spool.is_full:
            found.append("events wait to be loaded and the spool is full: see [flywheel] spool_mb")
        return tuple(found)

    def strays(self) -> tuple[str, ...]:
        """What lies in the spool's folder and is not loaded, in words; loading goes on."""
        names = [repr(name) for name in self.spool.strays]
        if not names:
            return ()
        some = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        return (
            f"in {self.spool.folder} lies what is no segment and is not loaded: {some}; "
            "`flywheel ingest FILE` takes events in; move it elsewhere and restart",
        )

    def _run(self) -> None:
        lower_priority()
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                self.drain()
                self._checkpoint_when_due()
                self._behind = False
                self.failures = 0
            except StoreFailed as error:
                self.failure = error
                log.critical("loading ends: %s", error.message, extra={"event": "store.failed"})
                return
            except DiskFull as error:
                log.error("loading waits: %s", error.message, extra=_FULL)  # noqa: TRY400
            except Exception as error:
                self.failures, self._why = self.failures + 1, type(error).__name__
                log.exception("events could not be loaded", extra={"event": "loader.defect"})
            self._stop.wait(max(0.0, LOAD_S - (time.monotonic() - began)))

    def _load(self, paths: Sequence[Path]) -> None:
        with self._store.read() as con:
            read = segments.read(con, paths)
        with self._store.write(loads=paths) as con:
            stored, rows = spooled.load(con, paths, read)
        self._loaded += paths
        self.rows += rows
        self.stored += stored
        if rows:
            log.debug("loaded %d events, %d new", rows, stored.new)

    def _checkpoint_when_due(self) -> None:
        size = sum(path.stat().st_size for path in self._loaded)
        waited = time.monotonic() - self._kept_since > CHECKPOINT_S
        if self._behind or waited or size > CHECKPOINT_BYTES or self.spool.is_full:
            self._checkpoint()

    def _checkpoint(self) -> None:
        with self._loading:
            with self._store.write() as con:
                events.merge_daily_sums(con)
                gone = rejected.trim(con, self._rejected_bytes)
            if gone:
                log.warning(
                    "%d rejected lines went, the oldest: [flywheel] rejected_mb is full",
                    gone,
                    extra={"event": "rejected.trimmed", "count": gone},
                )
            if self._loaded and self._store.checkpoint():
                self.spool.remove(self._loaded)
                self._loaded = []
            self._refused = self._refused + 1 if self._loaded else 0
            self._kept_since = time.monotonic()


def _groups(segments: Iterable[Path]) -> Iterator[list[Path]]:
    """The segments in their order, as many together as one transaction may load."""
    group: list[Path] = []
    size = 0
    for path in segments:
        if group and size + path.stat().st_size > GROUP_BYTES:
            yield group
            group, size = [], 0
        group.append(path)
        size += path.stat().st_size
    if group:
        yield group
