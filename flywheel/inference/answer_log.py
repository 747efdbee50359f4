"""The log of answers: written before an answer leaves, delivered to the daemon later.

One `write(2)` appends the whole lines of a request; from then on a kill of the process loses none
of them. A thread calls fdatasync within `SYNC_S` of the write, so a power cut loses the answers of
the last tenth of a second at most. Answering never waits for a disk, and never fails for one: what
cannot be logged (the log is full, or the disk) is not logged, counted, and told.

Segments are files of NDJSON named `NUMBER.ROUTE.ndjson`, ROUTE being where their lines are sent.
Every start opens new segments, so a line that a power cut tore is the last of its segment.
`Delivery` reads them and removes what the daemon has.
"""

from __future__ import annotations

import fcntl
import logging
import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from flywheel import files
from flywheel.errors import NO_ROOM, Refused

log = logging.getLogger(__name__)

Route = Literal["predictions", "feedback"]
"""Where a line is sent: `/v1/ROUTE` of the daemon."""

SYNC_S = 0.05
"""Seconds from the first write that is not on disk to the fdatasync, which takes up to as long."""

_NAME = re.compile(r"(\d{12})\.(predictions|feedback)\.ndjson")
_SEGMENT_BYTES = 8 << 20
_AGE_S = 60.0  # a segment that is older is closed once all of it was delivered
_TOLD_S = 60.0  # between two lines that say that answers are not logged


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment as a reader may use it."""

    path: Path
    size: int  # bytes of whole lines; of a closed one also those of a torn last line
    closed: bool  # nothing is appended any more

    @property
    def number(self) -> int:
        """Its place in the order of segments."""
        return int(self.path.name.partition(".")[0])

    @property
    def route(self) -> str:
        """Where its lines are sent."""
        return self.path.name.split(".")[1]


class _Open:
    """A segment that is appended to."""

    def __init__(self, path: Path, opened: float) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self.file = os.open(path, flags, 0o640)
        self.path = path
        self.opened = opened
        self.size = 0
        self.unsynced = False


class AnswerLog:
    """Appends lines to segments. Any thread may call it.

    Args:
        folder: where the segments are; made when it is missing. One process at a time.
        limit_bytes: of all segments that are not delivered; above it nothing is logged.
        segment_bytes: a segment that is longer is closed.
        clock: seconds, monotonic.

    Raises:
        Refused: another process writes this log.
        OSError: the folder cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        limit_bytes: int,
        *,
        segment_bytes: int = _SEGMENT_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        self.folder = folder
        self._lock_file = _locked(folder)
        self._limit, self._segment_bytes, self._clock = limit_bytes, segment_bytes, clock
        self._closed = {path: path.stat().st_size for path in _segments(folder)}
        self._number = max((Segment(path, 0, True).number for path in self._closed), default=0)
        self._open: dict[Route, _Open] = {}
        self._retired: list[_Open] = []  # closed for writing, to be synced by the thread
        self._folder_unsynced = False
        self._logged = self._not_logged = self._sync_failures = 0
        self._why_not = ""
        self._told_at, self._was_told = -math.inf, False
        self._state = threading.Condition()
        self._synced = threading.Event()  # something new is on disk; for the reader
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="answer log", daemon=True)
        self._thread.start()

    def write(self, events: Sequence[bytes], route: Route = "predictions") -> bool:
        """Append events; when it returns, a kill of this process loses none of them.

        Returns:
            Whether they were logged, all or none. If not, `state` says why; it never raises for
            a disk, since an answer that is not logged is still an answer.

        Raises:
            ValueError: an event is not one line.
        """
        if any(b"\n" in event for event in events):
            raise ValueError("an event of the log is one line")
        data = b"".join(event + b"\n" for event in events)
        with self._state:
            why_not = self._append(data, route) if data else ""
            if why_not:
                self._not_logged += len(events)
            else:
                self._logged += len(events)
            told = self._to_be_told(why_not)
            self._why_not = why_not
        if told:
            _tell(why_not)
        return not why_not

    def start_after(self, number: int) -> None:
        """Number new segments from above `number`: a cursor may still name removed ones."""
        with self._state:
            self._number = max(self._number, number)

    def segments(self) -> list[Segment]:
        """Return the segments, the oldest first."""
        with self._state:
            found = [Segment(path, size, True) for path, size in self._closed.items()]
            found += [Segment(one.path, one.size, False) for one in self._open.values()]
        return sorted(found, key=lambda segment: segment.number)

    def close_delivered(self, segment: Segment) -> None:
        """Close an open segment of which all was delivered, once it is a minute old: texts do not
        stay in a file because no more follow them."""
        with self._state:
            for route, one in list(self._open.items()):
                old = self._clock() - one.opened >= _AGE_S
                if one.path == segment.path and one.size == segment.size and old:
                    self._retire(route)

    def remove(self, segments: Iterable[Segment]) -> None:
        """Delete segments whose lines are safe elsewhere, or lost; durable when it returns."""
        removed = [segment.path for segment in segments]
        for path in removed:
            path.unlink(missing_ok=True)
        if removed:
            files.sync(self.folder)
        with self._state:
            for route, one in list(self._open.items()):
                if one.path in removed:
                    self._retire(route)
            for path in removed:
                self._closed.pop(path, None)

    def wait(self, timeout_s: float) -> None:
        """Return when something new is on disk, at the latest after `timeout_s`."""
        self._synced.wait(timeout_s)
        self._synced.clear()

    def wake(self) -> None:
        """Have `wait` return."""
        self._synced.set()

    def state(self) -> dict[str, Any]:
        """Return {"bytes": not removed yet, "limit_bytes", "segments", "logged": events since the
        start, "not_logged": events since the start, "why_not": why the last one was not; "" when
        it was, "sync_failures": calls of fdatasync that failed}."""
        with self._state:
            return {
                "bytes": self._bytes(),
                "limit_bytes": self._limit,
                "segments": len(self._closed) + len(self._open),
                "logged": self._logged,
                "not_logged": self._not_logged,
                "why_not": self._why_not,
                "sync_failures": self._sync_failures,
            }

    def close(self) -> None:
        """Have all on disk and end; harmless when already closed."""
        with self._state:
            if self._ending:
                return
            for route in list(self._open):
                self._retire(route)
            self._ending = True
            self._state.notify()
        self._thread.join()
        os.close(self._lock_file)

    def _bytes(self) -> int:
        return sum(self._closed.values()) + sum(one.size for one in self._open.values())

    def _append(self, data: bytes, route: Route) -> str:
        """Append whole lines; "" when they are with the kernel, else why they are not."""
        if self._ending:
            return "the log is closed"
        if self._bytes() + len(data) > self._limit:
            return f"{self._limit / 2**20:g} MiB wait for the daemon, as many as [serving] log_mb"
        segment = self._open.get(route)
        try:
            segment = segment or self._opened(route)
            _write(segment.file, data)
        except OSError as error:
            if segment is not None:
                self._cut(segment)
                self._retire(route)
            return "the disk is full" if error.errno in NO_ROOM else f"{error.strerror}"
        segment.size += len(data)
        segment.unsynced = True
        if segment.size >= self._segment_bytes:
            self._retire(route)
        self._state.notify()
        return ""

    def _to_be_told(self, why_not: str) -> bool:
        """Whether to say that answers are not logged, or, once that was said, that they are."""
        if not why_not:
            was_told, self._was_told = self._was_told, False
            return was_told
        now = self._clock()
        if now - self._told_at < _TOLD_S:
            return False
        self._told_at, self._was_told = now, True
        return True

    def _opened(self, route: Route) -> _Open:
        path = self.folder / f"{self._number + 1:012d}.{route}.ndjson"
        self._open[route] = segment = _Open(path, self._clock())
        self._number += 1
        self._folder_unsynced = True
        return segment

    def _cut(self, segment: _Open) -> None:
        """Take back what was half written; the segment ends there in any case."""
        try:
            os.ftruncate(segment.file, segment.size)
        except OSError:
            log.exception("a segment could not be mended", extra={"event": "answer_log.failed"})

    def _retire(self, route: Route) -> None:
        segment = self._open.pop(route)
        self._closed[segment.path] = segment.size
        self._retired.append(segment)
        self._state.notify()

    def _run(self) -> None:
        """Have what was written on disk, soon after it was."""
        while True:
            with self._state:
                while not (self._ending or self._retired or self._waits()):
                    self._state.wait()
                ending = self._ending
            if not ending:
                time.sleep(SYNC_S)  # what is written meanwhile shares the fdatasync
            self._sync()
            if ending:
                return

    def _waits(self) -> bool:
        return self._folder_unsynced or any(one.unsynced for one in self._open.values())

    def _sync(self) -> None:
        with self._state:
            retired, self._retired = self._retired, []
            folder, self._folder_unsynced = self._folder_unsynced, False
            waiting = [one for one in self._open.values() if one.unsynced]
            for one in waiting:
                one.unsynced = False
        for one in (*retired, *waiting):
            self._sync_file(one.file)
        for one in retired:
            os.close(one.file)
        if folder:
            self._sync_folder()
        self._synced.set()

    def _sync_file(self, file: int) -> None:
        try:
            os.fdatasync(file)
        except OSError as error:
            self._sync_failed(error)

    def _sync_folder(self) -> None:
        try:
            files.sync(self.folder)
        except OSError as error:
            self._sync_failed(error)

    def _sync_failed(self, error: OSError) -> None:
        """Answers go on; a power cut may now lose those that were written before."""
        with self._state:
            self._sync_failures += 1
        log.error(
            "logged answers could not be synced: %s", error, extra={"event": "answer_log.failed"}
        )


def _write(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:  # a kernel takes all of it at once, unless the disk is full or a signal came
        left = left[os.write(file, left) :]


def _segments(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))


def _locked(folder: Path) -> int:
    file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        raise Refused(
            f"another `flywheel serve` writes {folder}",
            hint="stop it first, or give this one a [flywheel] state_dir of its own",
        ) from error
    return file


def _tell(why_not: str) -> None:
    if why_not:
        log.error("answers are not logged: %s", why_not, extra={"event": "answer_log.full"})
    else:
        log.info("answers are logged again", extra={"event": "answer_log.room"})
