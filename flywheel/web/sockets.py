"""Listening sockets, Unix and TCP, and the HTTP server on them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import grp
import logging
import math
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from flywheel.errors import ConfigError, DatabaseHeld, FlywheelError
from flywheel.unix_socket import address_of
from flywheel.web.connections import BoundedConfig, allowed_connections
from flywheel.web.peer import DRAINING, PeerProtocol

MODE = 0o660
"""Of Unix sockets: for the process's user and a group."""


@contextmanager
def listening(
    path: Path,
    tcp: str,
    ingest: Path | None = None,
    ingest_group: str = "",
    key: str = "[api] tcp",
    handed: Sequence[socket.socket] = (),
    *,
    leave: bool = False,
) -> Iterator[list[socket.socket]]:
    """Sockets that accept connections; the Unix sockets' files are removed at the end.

    Args:
        path: of the socket that gives every role.
        tcp: "host:port"; "" for none.
        ingest: path of the socket that gives the role `ingest`; None for none.
        ingest_group: group that may write to that one; "": the daemon's own.
        key: where the address of TCP stands in config.toml, for the errors.
        handed: sockets that the process was started with: those of these addresses are used, the
            others are closed.
        leave: leave the files to the next process, which is handed these sockets.

    Raises:
        FlywheelError: one of the addresses cannot be had.
    """
    with contextlib.ExitStack() as opened:
        there = {_address(each): opened.enter_context(each) for each in handed}
        sockets = []
        for place, group in ((path, ""), (ingest, ingest_group)):
            if place is not None:
                known = there.pop(os.fspath(place), None) if place.is_socket() else None
                unix = known or bind_unix(place, group_id(group))
                sockets.append(opened.enter_context(contextlib.closing(unix)))
                if not leave:
                    opened.callback(_remove, place, place.lstat().st_ino)
        if tcp:
            listener = there.pop(tcp, None) or bind_tcp(tcp, key)
            sockets.append(opened.enter_context(contextlib.closing(listener)))
        for other in there.values():
            other.close()
        yield sockets


def _address(listener: socket.socket) -> str:
    """As config.toml has it: a path, or host and port."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return os.fsdecode(name)
    host, port = name[:2]
    return f"[{host}]:{port}" if listener.family == socket.AF_INET6 else f"{host}:{port}"


def group_id(name: str) -> int | None:
    """The gid of a group; None for "", the process's own.

    Raises:
        ConfigError: there is no such group.
    """
    if not name:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise ConfigError(
            f'[api] ingest_group = "{name}": there is no such group',
            hint=f"make it: `groupadd --system {name}`",
        ) from error


def bind_unix(path: Path, group: int | None = None) -> socket.socket:
    """Listen at `path` with mode 0660 from its first moment; a stale socket there is replaced.

    Args:
        path: where.
        group: gid that the socket is given to; None: the daemon's own.

    Raises:
        DatabaseHeld: somebody answers there.
        FlywheelError: something else has that name, the folder is not writable, or the daemon is
            not in the group.
    """
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        os.fchmod(listener.fileno(), MODE)  # the file is born with this, less the umask
        with address_of(path) as address:
            listener.bind(address)
        path.chmod(MODE)  # and gets back what the umask took
        if group is not None:
            os.chown(path, -1, group)
        listener.listen(socket.SOMAXCONN)
    except OSError as error:
        listener.close()
        raise FlywheelError(
            f"cannot listen on {path}: {error.strerror}",
            hint="give the daemon that folder"
            if group is None
            else "give the daemon that folder, and have it in the group of [api] ingest_group",
        ) from error
    return listener


def bind_tcp(address: str, key: str = "[api] tcp") -> socket.socket:
    """Listen at "host:port" or "[v6]:port"; port 0 takes a free one.

    Args:
        address: where.
        key: where that stands in config.toml, for the errors.

    Raises:
        ConfigError: not such an address, or it cannot be bound.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError(f'{key} = "{address}" is not host:port', hint='e.g. "127.0.0.1:8765"')
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM
        )[0]
        listener = socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol)
    except OSError as error:
        raise ConfigError(f'{key} = "{address}": {error.strerror}') from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(socket.SOMAXCONN)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f'cannot listen on {key} = "{address}": {error.strerror}',
            hint="choose a free port, or end what holds it",
        ) from error
    return listener


def _remove(path: Path, inode: int) -> None:
    """Remove the socket file, unless another daemon has put its own there."""
    with contextlib.suppress(FileNotFoundError):
        if path.lstat().st_ino == inode:
            path.unlink()


def refuse_in_the_way(path: Path) -> None:
    """Check that a socket may take this path.

    Raises:
        FlywheelError: something else than a socket has it.
    """
    if path.exists() and not path.is_socket():
        raise FlywheelError(f"{path} is in the way: not a socket", hint="move it elsewhere")


def _remove_stale(path: Path) -> None:
    refuse_in_the_way(path)
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        with address_of(path) as address:
            refused = probe.connect_ex(address) in (errno.ECONNREFUSED, errno.ENOENT)
    if not refused:
        raise DatabaseHeld(
            f"somebody answers on {path}", hint="ask it with `flywheel status`, or stop it first"
        )
    path.unlink(missing_ok=True)


# The HTTP server on sockets of ours, without a word in signals, which the process handles.

GRACE_S = 4
"""Requests that are being answered when the process stops have this long to end."""
KEEP_ALIVE_S = 5
"""An idle connection is closed after this long."""


LINGER_S = 3.0
"""A kept connection is closed at the end when it has been idle for this long, and not before it was
told so with one more answer: what is merely closed meets a request half-way."""
_LOOK_S = 0.02


class Server(uvicorn.Server):
    """uvicorn, saying when it listens and leaving signals alone.

    Args:
        config: of uvicorn.
        linger_s: see `LINGER_S`; 0 closes kept connections at once.
    """

    def __init__(self, config: uvicorn.Config, linger_s: float = 0.0) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()
        self.handed_on = False  # whether the next process goes on with the same sockets
        self._linger_s = linger_s

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End: every answer from now on says `Connection: close`; what stays idle is closed.

        New connections are taken meanwhile, but where the next process gets them: they wait for it.
        """
        if self.handed_on:
            for each in self.servers:
                each.close()
        loop = asyncio.get_running_loop()
        idle_since = loop.time() - self._linger_s
        setattr(self.server_state, DRAINING, True)
        for connection in self.server_state.connections:
            if isinstance(connection, PeerProtocol) and connection.cycle is not None:
                connection.cycle.keep_alive = False
        while self._any_used_since(idle_since) and not self.force_exit:
            await asyncio.sleep(_LOOK_S)
            idle_since = loop.time() - self._linger_s
        await super().shutdown(sockets)

    def _any_used_since(self, moment: float) -> bool:
        """Whether a connection is open whose last answer, or whose beginning, was after that."""
        return any(
            isinstance(each, PeerProtocol) and each.used_at > moment
            for each in self.server_state.connections
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; `listening` is set afterwards, also when it failed."""
        try:
            await super().startup(sockets)
        finally:
            self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def server(
    app: ASGIApp,
    *,
    grace_s: float = GRACE_S,
    keep_alive_s: int = KEEP_ALIVE_S,
    linger_s: float = 0.0,
) -> Server:
    """The server that answers with this application.

    Args:
        app: what answers.
        grace_s: that requests have to end when the process stops; rounded up to whole seconds.
        keep_alive_s: after which an idle connection is closed.
        linger_s: idle for so long, a connection is closed when the process stops.
    """
    config = BoundedConfig(
        app,
        http=PeerProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level=logging.ERROR,  # what a stranger sends that is no HTTP is no line of the log
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=keep_alive_s,
        timeout_graceful_shutdown=math.ceil(grace_s),
    )
    config.most_connections = allowed_connections()
    return Server(config, linger_s)
