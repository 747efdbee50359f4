"""What a connection may take before anybody is known behind it: time, a head, a place.

Each listening socket has a number of connections of its own, so that whoever fills one shuts
nobody out of another. A connection that owes the head of a request has seconds to send it, and a
head has a length. Nothing of this is written anywhere.
"""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from collections import Counter

import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_S = 10.0
"""From the connection, or from the last answer and the idle time after it, to the end of a head."""
HEAD_BYTES = 65_536
"""Of a request's line and headers together."""
MOST_CONNECTIONS = 1024
"""To one listening socket at a time; fewer where the process may not open so many files."""

_UNREAD_S = 60.0  # for an answer whose end is not read
_LISTENERS = 3
_OTHER_FILES = 256  # of the database, the spool, children and logs
_WANTED_FILES = MOST_CONNECTIONS * _LISTENERS + _OTHER_FILES


def allowed_connections() -> int:
    """How many connections one listening socket may have, by the files that may be open.

    The soft limit of open files is raised as far as the hard one lets it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = hard == resource.RLIM_INFINITY
    wanted = _WANTED_FILES if unlimited else min(_WANTED_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return per_listener(_WANTED_FILES if soft == resource.RLIM_INFINITY else soft)


def per_listener(files: int) -> int:
    """Connections that each listening socket may have where so many files may be open.

    >>> per_listener(65_536), per_listener(1024), per_listener(64)
    (1024, 256, 5)
    """
    ours = files - min(_OTHER_FILES, files * 3 // 4)
    return max(1, min(MOST_CONNECTIONS, ours // _LISTENERS))


class BoundedConfig(uvicorn.Config):
    """uvicorn's configuration, with how many connections a listening socket may have."""

    most_connections: int = MOST_CONNECTIONS
    head_s: float = HEAD_S


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 on a connection that is held within these bounds."""

    config: BoundedConfig
    _owes_head: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_body = False  # what comes now belongs to a request, answered already or not
    _listener = ""
    _counted = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or turn it away where its listening socket has its number."""
        super().connection_made(transport)
        opened = _opened(self.server_state)
        self._listener = _name(transport)
        if opened[self._listener] >= self.config.most_connections:
            self._turn_away(503, "too many connections", "try again in a moment")
            return
        opened[self._listener] += 1
        self._counted = True
        self._expect_head(0.0)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give its place to another one."""
        self._expect_nothing()
        if self._counted:
            _opened(self.server_state)[self._listener] -= 1
            self._counted = False
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, unless the head is longer than any head."""
        if self.transport.is_closing():
            return
        if self._owes_head is not None and not self._in_body:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._owes_head is not None and self._head_bytes > HEAD_BYTES:
            self._turn_away(431, "the head of the request is too long", "send shorter headers")

    def on_headers_complete(self) -> None:
        """Nothing is owed any more."""
        self._expect_nothing()
        self._in_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """What comes next is a head."""
        self._in_body = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The next head is owed, but where the next request is there already."""
        super().on_response_complete()
        if self.cycle is not None and self.cycle.response_complete:
            self._expect_head(self.timeout_keep_alive)

    def _expect_head(self, idle_s: float) -> None:
        self._expect_nothing()
        within = idle_s + self.config.head_s
        self._owes_head = self.loop.call_later(within, self._too_late)

    def _expect_nothing(self) -> None:
        self._head_bytes = 0
        if self._owes_head is not None:
            self._owes_head.cancel()
            self._owes_head = None

    def _too_late(self) -> None:
        self._owes_head = None
        if not self.transport.is_closing():
            self.transport.close()  # what is not sent yet has its time
            self.loop.call_later(_UNREAD_S, self.transport.abort)

    def _turn_away(self, status: int, message: str, hint: str) -> None:
        self._expect_nothing()
        body = msgspec.json.encode({"error": message, "hint": hint})
        reason = {431: "Request Header Fields Too Large", 503: "Service Unavailable"}[status]
        head = (
            f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\nRetry-After: 1\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()


def _opened(state: object) -> Counter[str]:
    """Connections of a server by listening socket."""
    found: Counter[str] | None = getattr(state, "flywheel_opened", None)
    if found is None:
        found = Counter()
        setattr(state, "flywheel_opened", found)  # noqa: B010  uvicorn's state is no class of ours
    return found


def _name(transport: asyncio.BaseTransport) -> str:
    """The listening socket that a connection came to."""
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family == socket.AF_UNIX:
        return os.fsdecode(connection.getsockname())
    return "tcp"
