"""The daemon's listening sockets: the Unix socket always, TCP when configured."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flywheel.errors import ConfigError, DatabaseHeld, FlywheelError

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
