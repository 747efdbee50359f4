"""The daemon's listening sockets, Unix and (when configured) TCP, and its HTTP server."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from flywheel.api import ProcessStatus, create_app
from flywheel.api.peer import PeerProtocol
from flywheel.config import ApiTable, secret
from flywheel.errors import ConfigError, DatabaseHeld, FlywheelError
from flywheel.loader import Loader
from flywheel.turn import Runtime

MODE = 0o660
"""Who may write to the Unix socket may do everything: the daemon's user and its group."""
_LONGEST_PATH = 107  # bytes of sun_path in Linux, less its end


@contextmanager
def listening(path: Path, tcp: str) -> Iterator[list[socket.socket]]:
    """Sockets that accept connections; the Unix socket's file is removed at the end.

    Raises:
        FlywheelError: one of the addresses cannot be had.
    """
    with contextlib.ExitStack() as opened:
        unix = opened.enter_context(contextlib.closing(bind_unix(path)))
        opened.callback(_remove, path, path.lstat().st_ino)
        sockets = [unix]
        if tcp:
            sockets.append(opened.enter_context(contextlib.closing(bind_tcp(tcp))))
        yield sockets


def can_listen(path: Path, tcp: str) -> None:
    """Try whether the daemon could listen, and let go again; for a daemon that does not run yet.

    Raises:
        FlywheelError: something else has the socket's name, or the TCP address cannot be had.
    """
    _refuse_in_the_way(path)
    if tcp:
        bind_tcp(tcp).close()


def bind_unix(path: Path) -> socket.socket:
    """Listen at `path` with mode 0660 from its first moment; a stale socket there is replaced.

    Raises:
        DatabaseHeld: somebody answers there.
        FlywheelError: something else has that name, or the folder is not writable.
    """
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        os.fchmod(listener.fileno(), MODE)  # the file is born with this, less the umask
        with _address(path) as address:
            listener.bind(address)
        path.chmod(MODE)  # and gets back what the umask took
        listener.listen(socket.SOMAXCONN)
    except OSError as error:
        listener.close()
        raise FlywheelError(
            f"cannot listen on {path}: {error.strerror}", hint="give the daemon that folder"
        ) from error
    return listener


def bind_tcp(address: str) -> socket.socket:
    """Listen at "host:port" or "[v6]:port"; port 0 takes a free one.

    Raises:
        ConfigError: not such an address, or it cannot be bound.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError(f'[api] tcp = "{address}" is not host:port', hint='e.g. "127.0.0.1:8765"')
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM
        )[0]
        listener = socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol)
    except OSError as error:
        raise ConfigError(f'[api] tcp = "{address}": {error.strerror}') from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(socket.SOMAXCONN)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f'cannot listen on [api] tcp = "{address}": {error.strerror}',
            hint="choose a free port, or end what holds it",
        ) from error
    return listener


def _remove(path: Path, inode: int) -> None:
    """Remove the socket file, unless another daemon has put its own there."""
    with contextlib.suppress(FileNotFoundError):
        if path.lstat().st_ino == inode:
            path.unlink()


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """The path as a socket address; one that is too long is reached through its open folder."""
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        yield os.fspath(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _refuse_in_the_way(path: Path) -> None:
    if path.exists() and not path.is_socket():
        raise FlywheelError(f"{path} is in the way: not a socket", hint="move it elsewhere")


def _remove_stale(path: Path) -> None:
    _refuse_in_the_way(path)
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        with _address(path) as address:
            refused = probe.connect_ex(address) in (errno.ECONNREFUSED, errno.ENOENT)
    if not refused:
        raise DatabaseHeld(
            f"somebody answers on {path}", hint="ask it with `flywheel status`, or stop it first"
        )
    path.unlink(missing_ok=True)


# The HTTP server on sockets of ours, without a word in signals, which the daemon handles.

GRACE_S = 4
"""Requests that are being answered when the daemon stops have this long to end."""


class Server(uvicorn.Server):
    """uvicorn, saying when it listens and leaving signals alone."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

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


def token_of(table: ApiTable) -> str | None:
    """The token that TCP callers must send; None while TCP is off.

    Raises:
        ConfigError: TCP is on and there is no token.
    """
    if not table.tcp:
        return None
    token = secret(table.token_env)
    if not token:
        named = f"{table.token_env} is not set" if table.token_env else "token_env is empty"
        raise ConfigError(
            f'[api] tcp = "{table.tcp}" needs a token, and {named}',
            hint="name an environment variable or systemd credential in [api] token_env",
        )
    return token


def server_of(runtime: Runtime, loader: Loader, process_status: ProcessStatus) -> Server:
    """The server of this daemon's interface.

    Raises:
        ConfigError: TCP is on and there is no token.
    """
    table = runtime.config.api
    name = table.tcp.rpartition(":")[0].lower()
    app = create_app(
        runtime,
        loader=loader,
        process_status=process_status,
        token=token_of(table),
        hosts=frozenset({name} if name else ()),
    )
    return Server(
        uvicorn.Config(
            app,
            http=PeerProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level=logging.WARNING,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE_S,
        )
    )
