"""Who is asking, and what may they?

Over a Unix socket the kernel says it: the uid at the other end (SO_PEERCRED), and the uid that the
process logged in with, which `sudo` does not change. Over TCP a bearer token says it. Nothing that
a request says itself counts.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import pwd
import select
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import get_args

from starlette.requests import Request

from flywheel.config import PromotionTable, Role
from flywheel.unix_socket import BY_FOLDER, LONGEST_PATH
from flywheel.web.connections import BoundedProtocol

UID = "flywheel.uid"
"""Key of the connection scope: the peer's uid on a Unix socket."""
LOGIN = "flywheel.login"
"""Key of the connection scope: the uid that the peer logged in with; `NO_LOGIN`, `HIDDEN`."""
LISTENER = "flywheel.listener"
"""Key of the connection scope: path of the Unix socket that was connected to."""
GONE = "flywheel.gone"
"""Key of the connection scope: a function that says whether the other end went away."""
DRAINING = "flywheel_draining"
"""Attribute of uvicorn's state of the server: answers are the last ones of their connections."""
CALLER = "flywheel.caller"
"""Key of the connection scope: the `Caller`."""

EVERY_ROLE: frozenset[Role] = frozenset(get_args(Role))
INCLUDED: Mapping[Role, frozenset[Role]] = {
    "admin": EVERY_ROLE,
    "decide": frozenset({"look"}),
    "label": frozenset({"look"}),
}
"""Roles that come with another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The person or program behind a request, as it stands in the audit trail."""

    name: str  # a login name; "token" and "unknown" are nobody's
    uid: int | None = None  # None: known by token
    token: str = ""  # name of the table [api.tokens.NAME]
    person: str = ""  # login name of who stands behind it; "": nobody in particular
    roles: frozenset[Role] = frozenset()

    def __str__(self) -> str:
        """The actor of events, from which `promotion` tells persons apart.

        >>> str(Caller(name="ada", uid=0)), str(Caller(name="ada", token="ops"))
        ('ada (uid 0)', 'ada (token ops)')
        >>> str(Caller(name="token", token="shop")), str(Caller(name="token"))
        ('token shop', 'token')
        """
        if self.uid is not None:
            return f"{self.name} (uid {self.uid})"
        if self.token and self.name != NO_PERSON:
            return f"{self.name} (token {self.token})"
        return f"{self.name} {self.token}".strip()

    def may(self, role: Role) -> bool:
        """Whether one of the roles is this one or includes it."""
        return any(role == has or role in INCLUDED.get(has, ()) for has in self.roles)


NO_PERSON = "token"
"""Name of the caller behind a token that names no person."""


def of_token(name: str, person: str, roles: frozenset[Role]) -> Caller:
    """The caller that a token stands for; `name` is "" for the one of `[api] token_env`."""
    return Caller(name=person or NO_PERSON, token=name, person=person, roles=roles)


# Who stands behind a process?
#
# The kernel keeps the uid that somebody logged in with (/proc/PID/loginuid, proc_pid_loginuid(5)):
# it stays through `sudo` and `su`. So one person with two uids is one person. Root is nobody in
# particular, and so is whoever the kernel does not tell of.

NO_LOGIN = 2**32 - 1
"""The kernel's word for a process that no login began: a service, or a kernel without audit."""
HIDDEN = -1
"""The login cannot be known: the process is gone, or /proc does not show it."""
ROOT = "root"
UNKNOWN = "unknown"
"""Name of a uid without a user, and of a peer whose login is hidden."""

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid
_SO_PEERPIDFD = 77  # since Linux 6.5; not in `socket` yet


def on_socket(uid: int, login: int, roles: frozenset[Role]) -> Caller:
    """The caller at the other end of a Unix socket.

    Args:
        uid: of the process that connected.
        login: uid that it logged in with; `NO_LOGIN`, or `HIDDEN`.
        roles: what the socket gives.
    """
    if login == HIDDEN:
        return Caller(name=UNKNOWN, uid=uid, roles=roles)
    behind = uid if login == NO_LOGIN else login
    name = user_name(behind) if behind else ROOT  # whatever its account is called
    person = "" if name in (ROOT, UNKNOWN) else name
    return Caller(name=name, uid=uid, person=person, roles=roles)


class PeerProtocol(BoundedProtocol):
    """HTTP/1.1 that tells the application who is at the other end of a Unix socket."""

    _peer: Mapping[str, object] | None = None
    used_at = 0.0  # of the loop's clock: when the connection was made, or its last answer was sent

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Ask the kernel once per connection."""
        super().connection_made(transport)
        self.used_at = self.loop.time()
        self._peer = _peer(transport)

    def on_message_begin(self) -> None:
        """Put what the kernel said into the scope of each request."""
        super().on_message_begin()
        self.scope[GONE] = self.transport.is_closing  # type: ignore[literal-required]
        if self._peer is not None:
            self.scope.update(self._peer)  # type: ignore[typeddict-item]

    def on_response_complete(self) -> None:
        """Note when the connection was used last."""
        self.used_at = self.loop.time()
        super().on_response_complete()

    def on_headers_complete(self) -> None:
        """Have the answer say `Connection: close` once the server is ending."""
        super().on_headers_complete()
        if self.cycle is not None and getattr(self.server_state, DRAINING, False):
            self.cycle.keep_alive = False


def _peer(transport: asyncio.BaseTransport) -> Mapping[str, object] | None:
    """What the kernel says of the other end of a Unix socket; None for TCP."""
    connection = transport.get_extra_info("socket")
    if connection is None or connection.family != socket.AF_UNIX:
        return None
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(raw)
    return {
        UID: uid,
        LOGIN: login_of(pid, lambda: _pinned(connection, pid)),
        LISTENER: os.fsdecode(connection.getsockname()),
    }


def listens_at(listener: str, path: str) -> bool:
    """Whether a connection came to the socket at `path`, by the address that the kernel names.

    >>> listens_at("/srv/flywheel.sock", "/srv/flywheel.sock"), listens_at("", "/srv/flywheel.sock")
    (True, False)
    """
    if len(os.fsencode(path)) <= LONGEST_PATH:
        return listener == path
    name = path.rpartition("/")[2]
    return listener.startswith(BY_FOLDER) and listener.rpartition("/")[2] == name


def login_of(pid: int, pinned: Callable[[], int], proc: Path = Path("/proc")) -> int:
    """The uid that a process logged in with; `NO_LOGIN` or `HIDDEN`.

    The number of a process that ended may be another's soon. So the process is pinned by a pidfd,
    and has to live still after its file was read.

    Args:
        pid: of the process, as this one sees it; 0 where it cannot.
        pinned: opens a pidfd of the process.
        proc: where the kernel's files are.
    """
    if not (proc / "self" / "loginuid").exists():
        return NO_LOGIN  # a kernel without audit knows of nobody
    try:
        pidfd = pinned()
    except OSError:
        return HIDDEN
    try:
        login = int((proc / str(pid) / "loginuid").read_text(encoding="ascii"))
        ended, _, _ = select.select([pidfd], [], [], 0)
    except (OSError, ValueError):
        return HIDDEN
    finally:
        os.close(pidfd)
    return HIDDEN if ended else login


def _pinned(connection: socket.socket, pid: int) -> int:
    """A pidfd of the process that connected, also where its number is another's by now.

    A kernel before 6.5 cannot do that: the number is looked up, as soon as the connection is there.
    """
    try:
        return connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise
    return os.pidfd_open(pid)


def hidden_logins(table: PromotionTable, proc: Path = Path("/proc")) -> tuple[str, ...]:
    """Why no two approvals can come together here, in words; empty where they can.

    Args:
        table: the current [promotion].
        proc: where the kernel's files are.
    """
    if table.approvals < 2 or not (proc / "self" / "loginuid").exists():
        return ()
    if (proc / "1" / "loginuid").exists():
        return ()
    return (
        "two people approve here, but /proc hides from the daemon who logged in, so nobody on the "
        "socket counts: set ProtectProc=default in its unit (or mount /proc without hidepid)",
    )


def user_name(uid: int) -> str:
    """The login name of a uid; "unknown" where it has none, for now."""
    try:
        return _account(uid)
    except KeyError:
        return UNKNOWN


@lru_cache(maxsize=256)  # of names that were found: a directory that does not answer may do so soon
def _account(uid: int) -> str:
    return pwd.getpwuid(uid).pw_name


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
