"""Who is asking?

Over the Unix socket the kernel says it (SO_PEERCRED), and the socket's mode decided that they
may. Over TCP a bearer token says it; without the right one only the health checks answer.
A browser is never a caller: a request with a foreign Host is refused, so that no name of
an attacker can be pointed here, and so is any change that carries an Origin.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import pwd
import socket
import struct
from dataclasses import dataclass
from functools import lru_cache

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from flywheel.api.http import problem

UID = "flywheel.uid"
"""Key of the connection scope: the peer's uid on the Unix socket."""
CALLER = "flywheel.caller"
"""Key of the connection scope: the `Caller`."""
_OPEN_PATHS = frozenset({"/healthz", "/readyz"})
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The person or program behind a request, as it stands in the audit trail."""

    name: str
    uid: int | None = None  # None: known by token

    def __str__(self) -> str:
        return self.name if self.uid is None else f"{self.name} (uid {self.uid})"


class PeerProtocol(HttpToolsProtocol):
    """HTTP/1.1 that tells the application the uid at the other end of a Unix socket."""

    _uid: int | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Ask the kernel once per connection."""
        super().connection_made(transport)
        self._uid = _peer_uid(transport)

    def on_message_begin(self) -> None:
        """Put the uid into the scope of each request."""
        super().on_message_begin()
        if self._uid is not None:
            self.scope[UID] = self._uid  # type: ignore[literal-required]


class Guard:
    """Refuses strangers and browsers, and names the caller to the handlers.

    Args:
        app: what is guarded.
        token: the bearer token of TCP; None admits nobody there.
        hosts: names this daemon is known by, besides addresses and names without a dot.
    """

    def __init__(self, app: ASGIApp, token: str | None, hosts: frozenset[str]) -> None:
        self._app = app
        self._token = token
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        caller = self._caller(scope, headers)
        if not _known_host(headers.get("host", ""), self._hosts):
            refused = problem(400, "the Host header names another server", "use an address")
        elif "origin" in headers and scope["method"] not in ("GET", "HEAD"):
            refused = problem(403, "changes are not taken from web pages", "use the command line")
        elif caller is None and scope["path"] not in _OPEN_PATHS:
            refused = problem(
                401,
                "no valid token",
                "send Authorization: Bearer TOKEN, or use the Unix socket",
                {"WWW-Authenticate": "Bearer"},
            )
        else:
            scope[CALLER] = caller
            await self._app(scope, receive, send)
            return
        await refused(scope, receive, send)

    def _caller(self, scope: Scope, headers: Headers) -> Caller | None:
        uid = scope.get(UID)
        if uid is not None:
            return Caller(name=_user_name(uid), uid=uid)
        scheme, _, given = headers.get("authorization", "").partition(" ")
        # bytes: compare_digest refuses text that is not ASCII
        proof, expected = given.strip().encode(), (self._token or "").encode()
        if expected and scheme.lower() == "bearer" and hmac.compare_digest(proof, expected):
            return Caller(name="token")
        return None


def _peer_uid(transport: asyncio.BaseTransport) -> int | None:
    """The uid at the other end of a Unix socket; None for TCP."""
    connection = transport.get_extra_info("socket")
    if connection is None or connection.family != socket.AF_UNIX:
        return None
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    uid: int = _CREDENTIALS.unpack(raw)[1]
    return uid


@lru_cache(maxsize=256)
def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return "unknown"


def _known_host(header: str, hosts: frozenset[str]) -> bool:
    """True for an address, a name without a dot, or a name in `hosts`; the port is not judged."""
    bracketed, _, _ = header.partition("]")
    name = bracketed[1:] if header.startswith("[") else header.rpartition(":")[0] or header
    name = name.lower()
    if name in hosts or ("." not in name and ":" not in name):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


# What people do, in the log: who, what, and why. `flywheel log` shows it.

log = logging.getLogger(__name__)


def record(request: Request, what: str, because: str = "") -> None:
    """Log that a caller did `what`, after it was done.

    Args:
        request: whose caller it was.
        what: ids and counts in words, such as "d-7 approved"; no user text.
        because: the reason the caller gave, written as one line.
    """
    by = str(request.scope[CALLER])
    why = "".join(c if c.isprintable() else " " for c in " ".join(because.split()))
    log.info("%s by %s%s", what, by, f": {why}" if why else "", extra={"event": "act", "by": by})
