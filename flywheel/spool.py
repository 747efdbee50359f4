"""The log of acknowledged events: what was appended survives a crash at any moment.

One thread writes. All that waits is written at once and shares one fdatasync; only then is any of
it acknowledged. Segments are numbered files; every start opens a new one, so a line that a crash
tore is the last of its segment and was never acknowledged. Whoever loads a segment deletes it.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from flywheel import files
from flywheel.errors import NO_ROOM, DiskFull, FlywheelError

log = logging.getLogger(__name__)

Done = Callable[[Exception | None], object]
"""Told once, from the writing thread: None when the lines are on disk, else why they are not."""

_GROUP_BYTES = 16 << 20  # written with one fdatasync
_NAME = re.compile(r"(\d{12,})\.ndjson", re.ASCII)


class SpoolFull(FlywheelError):
    """More is waiting to be loaded than the spool may hold; try again in a moment."""


class SpoolFailed(FlywheelError):
    """The spool could not be written; whether the lines are on disk is not known."""


def segments(folder: Path) -> list[Path]:
    """The segments in a spool's folder, oldest first; nothing else that lies there."""
    found = [(number, path) for path, number in _entries(folder) if number is not None]
    return [path for _, path in sorted(found) if path.is_file() and not path.is_symlink()]


def _entries(folder: Path) -> list[tuple[Path, int | None]]:
    """What is in the folder, with its number where its name is that of a segment."""
    names = [(path, _NAME.fullmatch(path.name)) for path in sorted(folder.glob("*"))]
    return [(path, int(name[1]) if name else None) for path, name in names]


class SegmentWriter:
    """Appends to numbered segments; what `append` returned from is on disk. One thread at a time.

    Args:
        folder: where the segments are.
        number: of the newest that is there; the next one is opened by the next `append`.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self._folder = folder
        self._number = number
        self._file = -1
        self.path: Path | None = None  # of the open segment; None: nothing was appended to it yet
        self.size = 0  # bytes of it

    def append(self, data: bytes) -> None:
        """Write and sync; after an error, `cut` takes off what was half written.

        Raises:
            OSError: whether the data is on disk is not known.
        """
        if self._file < 0:
            self._open()
        left = memoryview(data)
        while left:
            left = left[os.write(self._file, left) :]
        os.fdatasync(self._file)
        self.size += len(data)

    def cut(self, size: int) -> None:
        """Shorten the open segment to a length that it had, on disk when this returns.

        Raises:
            OSError: it could not be.
        """
        if self._file >= 0:
            os.ftruncate(self._file, size)
            os.fdatasync(self._file)
            self.size = size

    def end(self) -> Path | None:
        """Close the open segment and return it; None where there is none."""
        ended = self.path
        if ended is not None:
            os.close(self._file)
            self._file, self.path, self.size = -1, None, 0
        return ended

    def _open(self) -> None:
        path = self._folder / f"{self._number + 1:012d}.ndjson"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o640)
        self._number += 1
        self.path = path
        files.sync(self._folder)


def newest(folder: Path) -> int:
    """The highest number that a name in the folder has, segment or not; 0 without one."""
    return max((number for _, number in _entries(folder) if number is not None), default=0)


class Spool:
    """Appends lines to segments. Any thread may call it.

    Args:
        folder: where the segments are; made when it is missing.
        limit_bytes: of all segments together; more is refused.
        segment_bytes: a segment that is longer is closed.
    """

    def __init__(self, folder: Path, limit_bytes: int, segment_bytes: int = 32 << 20) -> None:
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        self.folder = folder
        self._limit = limit_bytes
        self._segment_bytes = segment_bytes
        self._closed = segments(folder)
        there = _entries(folder)
        self.strays = tuple(path.name for path, _ in there if path not in self._closed)
        """What lay in the folder at the start and is no segment: it is never read or removed."""
        self._writer = SegmentWriter(folder, newest(folder))
        self._sizes = {path: path.stat().st_size for path in self._closed}
        self._written = 0  # bytes of the open segment
        self._queued = 0  # bytes of what waits
        self._waiting: list[tuple[bytes, Done]] = []
        self._rotations: list[threading.Event] = []
        self._state = threading.Condition()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._thread.start()

    def append(self, lines: bytes, done: Done) -> None:
        """Write whole lines; `done` is told when they are on disk.

        Raises:
            SpoolFull: there is no room now; nothing was taken.
            SpoolFailed: the spool is closed.
        """
        with self._state:
            if self._ending:
                raise SpoolFailed("the spool is closed: the daemon stops", hint="send it again")
            if self._total() + len(lines) > self._limit:
                raise SpoolFull(
                    f"{self._total() / 2**20:.0f} MiB wait to be loaded",
                    hint="send it again in a moment; [flywheel] spool_mb is the limit",
                )
            self._queued += len(lines)
            self._waiting.append((lines, done))
            self._state.notify()

    def close_segment(self) -> list[Path]:
        """Return the closed segments, oldest first; all that was acknowledged is in them."""
        ready = threading.Event()
        with self._state:
            if not self._ending:
                self._rotations.append(ready)
                self._state.notify()
            else:
                ready.set()
        ready.wait()
        with self._state:
            return list(self._closed)

    def remove(self, segments: Iterable[Path]) -> None:
        """Delete closed segments, whose events are safe elsewhere."""
        for path in segments:
            path.unlink(missing_ok=True)
            with self._state:
                self._closed.remove(path)
                del self._sizes[path]

    @property
    def backlog_bytes(self) -> int:
        """What is not deleted yet, and what waits to be written."""
        with self._state:
            return self._total()

    @property
    def used(self) -> float:
        """Share of the limit that is taken, 0..1; above 1 where the limit was lowered."""
        return self.backlog_bytes / self._limit if self._limit else 0.0

    @property
    def is_full(self) -> bool:
        """Whether a line of the usual length would be refused now."""
        return self.backlog_bytes + 65_536 > self._limit

    def alive(self) -> bool:
        """Whether anything would be written."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Write what waits and end; harmless when already closed."""
        with self._state:
            self._ending = True
            self._state.notify()
        self._thread.join()

    def _total(self) -> int:
        return sum(self._sizes.values()) + self._written + self._queued

    def _run(self) -> None:
        while True:
            with self._state:
                while not (self._waiting or self._rotations or self._ending):
                    self._state.wait()
                group, rotations = self._take(), self._rotations
                if self._waiting:
                    rotations = []  # they were asked for after what still waits
                else:
                    self._rotations = []
                ending = self._ending and not self._waiting
            if group:
                self._write_group(group)
            if rotations or ending or self._written >= self._segment_bytes:
                self._end_segment()
            for ready in rotations:
                ready.set()
            if ending:
                return

    def _take(self) -> list[tuple[bytes, Done]]:
        """The next group: what waits, up to a length."""
        size = count = 0
        for lines, _ in self._waiting:
            if count and size + len(lines) > _GROUP_BYTES:
                break
            size += len(lines)
            count += 1
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        return group

    def _write_group(self, group: list[tuple[bytes, Done]]) -> None:
        data = b"".join(lines for lines, _ in group)
        error: Exception | None = None
        try:
            self._writer.append(data)
        except OSError as cause:
            error = self._undone(cause)
        with self._state:
            self._queued -= len(data)
            if error is None:
                self._written += len(data)
        for _, done in group:
            _tell(done, error)

    def _undone(self, cause: OSError) -> Exception:
        """Cut off what was half written and go on in another segment."""
        log.error("the spool could not be written: %s", cause, extra={"event": "spool.failed"})
        error: Exception = SpoolFailed(
            f"the spool could not be written: {cause.strerror}", hint="send it again"
        )
        try:
            self._writer.cut(self._written)
            if cause.errno in NO_ROOM:
                error = DiskFull(
                    "the disk is full: nothing was kept", hint="make room, then send it again"
                )
        except OSError:
            log.exception("a segment could not be mended", extra={"event": "spool.failed"})
        self._end_segment()
        return error

    def _end_segment(self) -> None:
        ended = self._writer.end()
        if ended is None:
            return
        with self._state:
            self._closed.append(ended)
            self._sizes[ended] = self._written
            self._written = 0


def _tell(done: Done, error: Exception | None) -> None:
    try:
        done(error)
    except RuntimeError:  # the event loop that asked is gone
        log.debug("an acknowledgement had nobody to go to")
