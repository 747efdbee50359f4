"""Logged answers to the daemon: in batches, in order, until the daemon has them on its disk.

The daemon knows an event by its id, so sending one twice changes nothing; a crash at any moment
repeats one batch at most. While the daemon is away or busy, the log keeps what was answered and
this thread asks again. A line that the daemon does not take never stops those behind it: the
daemon keeps it with its reason (`flywheel rejected`); what it refuses to look at at all is put
into the file `not_taken.ndjson` beside the log.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from flywheel import files
from flywheel.inference.answer_log import AnswerLog, Segment
from flywheel.unix_socket import UnixConnection

log = logging.getLogger(__name__)

BATCH_BYTES = 250_000  # the daemon reads a batch of native events below 256 KiB in milliseconds
TIMEOUT_S = 30.0
WAITS_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # between tries; the last one is repeated
_LONGEST_WAIT_S = 60.0  # that a Retry-After may ask for
_ASIDE_BYTES = 4 << 20  # of lines that were refused unread; the newest are kept
_DEFECTS = 5  # times in a row that the daemon failed on a batch, after which it is halved
_LINE_DEFECTS = 20  # the same for one line, after which it is put aside: some minutes
_IDLE_S = 5.0  # between looks at the log when nothing is answered
_LINGER_S = 0.2  # what is answered meanwhile shares a batch
_ANY = 1 << 30
_CURSOR = "cursor.json"
_NOT_TAKEN = "not_taken.ndjson"
_REFUSED_UNREAD = frozenset({400, 411, 413, 414, 415, 422, 431})  # for what is in the body
_BUSY = frozenset({429, 503, 507})  # whatever the body is


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    value: Mapping[str, Any]
    retry_after_s: float | None


class _Away(Exception):
    """The daemon does not take anything now; the text says why."""

    def __init__(self, why: str, retry_after_s: float | None = None) -> None:
        super().__init__(why)
        self.retry_after_s = retry_after_s


class Delivery:
    """A thread that delivers a log to the daemon behind a Unix socket.

    Args:
        log: whose segments are sent and removed.
        socket: of the daemon; it need not be there yet.
    """

    def __init__(self, log: AnswerLog, socket: Path) -> None:
        self._log = log
        self._connection = UnixConnection(socket, TIMEOUT_S)
        self._cursor_path = log.folder / _CURSOR
        self._offsets = _offsets(self._cursor_path)  # delivered bytes by name of the segment
        log.start_after(max((_number(name) for name in self._offsets), default=0))
        self._counts = {"delivered": 0, "repeated": 0, "rejected": 0, "not_taken": 0, "torn": 0}
        self._error = ""
        self._failures = 0  # tries in a row
        self._defects = 0  # times in a row that the daemon failed on a batch
        self._most_lines = _ANY  # of a batch; few while the line is looked for that is refused
        self._asked_to_wait_s: float | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="delivery", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self, drain_s: float = 2.0) -> None:
        """Deliver what is logged, for at most about `drain_s`, and end. The rest stays logged."""
        self._stopping.set()
        self._log.wake()
        if self._thread.ident is not None:
            self._thread.join(drain_s)
        if not self._thread.is_alive():
            self._connection.close()

    def state(self) -> dict[str, Any]:
        """Return since the start {"delivered": events on the daemon's disk, "repeated": of them
        sent twice in a batch, "rejected": lines that the daemon keeps with a reason, "not_taken":
        lines put aside, "torn": last lines that a power cut tore}, and {"waiting_bytes",
        "daemon": why it takes nothing now, "" when it does}."""
        segments = self._log.segments()
        waiting = sum(max(0, each.size - self._offset(each)) for each in segments)
        return {**self._counts, "waiting_bytes": waiting, "daemon": self._error}

    def deliver(self) -> bool:
        """Send what is logged now; False where the daemon does not take it.

        Returns only once all of it was sent, or the daemon refused or was away.
        """
        try:
            for segment in self._log.segments():
                self._deliver(segment)
        except _Away as away:
            self._failed(str(away))
            self._asked_to_wait_s = away.retry_after_s
            return False
        except OSError as error:  # the log's own disk
            self._failed(f"the log cannot be read or its cursor written: {error.strerror}")
            self._asked_to_wait_s = None
            return False
        if self._error:
            log.info("the daemon takes answers again", extra={"event": "delivery.back"})
        self._error, self._failures = "", 0
        return True

    def _run(self) -> None:
        while True:
            stopping = self._stopping.is_set()
            delivered = self.deliver()
            if stopping:
                return
            if delivered:
                self._log.wait(_IDLE_S)
                self._stopping.wait(_LINGER_S)
            else:
                self._stopping.wait(self._pause_s())

    def _pause_s(self) -> float:
        if self._asked_to_wait_s is not None:
            return min(self._asked_to_wait_s, _LONGEST_WAIT_S)
        return WAITS_S[min(self._failures, len(WAITS_S)) - 1]

    def _failed(self, why: str) -> None:
        self._failures += 1
        if why != self._error:
            log.warning("answers wait in the log: %s", why, extra={"event": "delivery.away"})
        self._error = why

    def _offset(self, segment: Segment) -> int:
        return self._offsets.get(segment.path.name, 0)

    def _deliver(self, segment: Segment) -> None:
        """Send the rest of a segment, batch by batch; remove it when nothing can follow."""
        try:
            with segment.path.open("rb") as file:
                while (offset := self._offset(segment)) < segment.size:
                    lines = self._next_lines(file, offset, segment.size)
                    if not lines.endswith(b"\n"):
                        self._counts["torn"] += 1
                        self._advance(segment, segment.size)
                    elif self._send(segment.route, lines):
                        self._advance(segment, offset + len(lines))
        except FileNotFoundError:
            log.warning("%s is gone: not by us", segment.path, extra={"event": "delivery.gone"})
            self._log.remove([segment])
        if segment.closed:
            self._log.remove([segment])
            self._offsets.pop(segment.path.name, None)
        else:
            self._log.close_delivered(segment)

    def _next_lines(self, file: BinaryIO, offset: int, size: int) -> bytes:
        """The next batch of whole lines; without an end of line where the last one is torn."""
        file.seek(offset)
        data = file.read(min(BATCH_BYTES, size - offset))
        lines = data[: data.rfind(b"\n") + 1]
        if not lines:  # one line is longer than a batch, or the last one is torn
            file.seek(offset)
            return file.readline(size - offset)
        if self._most_lines < lines.count(b"\n"):
            lines = b"".join(lines.splitlines(keepends=True)[: self._most_lines])
        return lines

    def _advance(self, segment: Segment, offset: int) -> None:
        """Note how far a segment was delivered: in a file, which is on disk when it returns."""
        self._offsets[segment.path.name] = offset
        try:
            files.write_json(self._cursor_path, self._offsets)
        except OSError as error:  # after a crash more is sent again; a full disk gets room by this
            log.warning(
                "the cursor cannot be written: %s", error, extra={"event": "delivery.cursor"}
            )

    def _send(self, route: str, lines: bytes) -> bool:
        """Have lines on the daemon's disk, or kept with what it has against them.

        Returns:
            False where the batch was refused as a whole: the next one is half as long, until the
            line is found because of which it was.

        Raises:
            _Away: the daemon takes nothing now.
        """
        reply = self._post(route, lines)
        many = lines.count(b"\n")
        if "accepted" in reply.value and reply.status in (200, 422):
            self._count(reply.value)
            self._defects, self._most_lines = 0, min(_ANY, self._most_lines * 2)
            return True
        defect = reply.status >= 500 and reply.status not in _BUSY
        self._defects = self._defects + 1 if defect else 0
        if self._defects >= (_DEFECTS if many > 1 else _LINE_DEFECTS):
            self._defects = 0
        elif reply.status not in _REFUSED_UNREAD:
            # It says nothing of the lines: no such route, no right to it, too much to do.
            raise _Away(_words(reply), reply.retry_after_s)
        if many > 1:
            self._most_lines = many // 2
            return False
        self._put_aside(lines)
        self._counts["not_taken"] += 1
        log.error(
            "a logged line was not taken: %s", _words(reply), extra={"event": "delivery.not_taken"}
        )
        return True

    def _put_aside(self, line: bytes) -> None:
        """Keep a line where a person finds it; the oldest ones make room."""
        path = self._log.folder / _NOT_TAKEN
        with path.open("ab") as file:
            file.write(line)
            files.flush(file)
            size = file.tell()
        if size > _ASIDE_BYTES:
            rest = path.read_bytes()[-_ASIDE_BYTES // 2 :]
            with files.replacing(path) as staged:
                staged.write_bytes(rest.partition(b"\n")[2])

    def _count(self, receipt: Mapping[str, Any]) -> None:
        rejected = len(receipt.get("rejected", ()))
        self._counts["delivered"] += receipt.get("accepted", 0) + receipt.get("skipped", 0)
        self._counts["repeated"] += receipt.get("duplicates", 0)
        self._counts["rejected"] += rejected
        if rejected:
            log.error(
                "the daemon did not take %d logged lines: `flywheel rejected` has them",
                rejected,
                extra={"event": "delivery.rejected", "n": rejected},
            )

    def _post(self, route: str, lines: bytes) -> _Reply:
        """One request; a second try where an idle connection was closed meanwhile."""
        idle = self._connection.sock is not None
        try:
            return self._exchange(route, lines)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            if not idle:
                raise _Away(f"no daemon answers ({_name(error)})") from error
        try:
            return self._exchange(route, lines)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise _Away(f"no daemon answers ({_name(error)})") from error

    def _exchange(self, route: str, lines: bytes) -> _Reply:
        headers = {"Content-Type": "application/x-ndjson"}
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._connection.request("POST", f"/v1/{route}", lines, headers)
        answer = self._connection.getresponse()
        try:
            value = json.loads(answer.read())
        except ValueError:
            value = {}
        return _Reply(
            status=answer.status,
            value=value if isinstance(value, dict) else {},
            retry_after_s=_seconds(answer.headers.get("Retry-After")),
        )


def _offsets(path: Path) -> dict[str, int]:
    """The cursor; empty where there is none, or it cannot be read: then all is sent again."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(value, dict):
        return {}
    return {str(name): offset for name, offset in value.items() if isinstance(offset, int)}


def _number(name: str) -> int:
    number = name.partition(".")[0]
    return int(number) if number.isdecimal() else 0


def _seconds(retry_after: str | None) -> float | None:
    return float(retry_after) if retry_after and retry_after.isdecimal() else None


def _words(reply: _Reply) -> str:
    return str(reply.value.get("error") or f"the daemon answered {reply.status}")


def _name(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    return type(error).__name__
