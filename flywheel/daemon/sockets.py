"""The daemon's listening sockets, Unix and (when configured) TCP, its tokens and its HTTP server.

Who may write to the socket in the state folder may do everything. A second Unix socket, for those
who produce events, gives them the role `ingest` and no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import grp
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from flywheel.api import ProcessStatus, create_app
from flywheel.api.guard import BearerToken, bearer
from flywheel.api.peer import BY_FOLDER, LONGEST_PATH, PeerProtocol
from flywheel.config import ApiTable, Config, Role, TokenTable, secret
from flywheel.errors import ConfigError, DatabaseHeld, FlywheelError
from flywheel.loader import Loader
from flywheel.turn import Runtime

log = logging.getLogger(__name__)

MODE = 0o660
"""Of both Unix sockets: for the daemon's user and a group."""
TOKEN_LENGTH = 32
"""Characters that a named token has at least; it cannot be guessed then."""


@contextmanager
def listening(
    path: Path, tcp: str, ingest: Path | None = None, ingest_group: str = ""
) -> Iterator[list[socket.socket]]:
    """Sockets that accept connections; the Unix sockets' files are removed at the end.

    Args:
        path: of the socket that gives every role.
        tcp: "host:port"; "" for none.
        ingest: path of the socket that gives the role `ingest`; None for none.
        ingest_group: group that may write to that one; "": the daemon's own.

    Raises:
        FlywheelError: one of the addresses cannot be had.
    """
    with contextlib.ExitStack() as opened:
        sockets = []
        for place, group in ((path, ""), (ingest, ingest_group)):
            if place is not None:
                unix = bind_unix(place, _group_id(group))
                sockets.append(opened.enter_context(contextlib.closing(unix)))
                opened.callback(_remove, place, place.lstat().st_ino)
        if tcp:
            sockets.append(opened.enter_context(contextlib.closing(bind_tcp(tcp))))
        yield sockets


def can_listen(config: Config) -> None:
    """Try whether the daemon could listen, and let go again; for a daemon that does not run yet.

    Raises:
        FlywheelError: something else has a socket's name, there is no such group, or the TCP
            address cannot be had.
    """
    _refuse_in_the_way(config.socket_path)
    ingest = config.ingest_path
    if ingest is not None:
        _refuse_ingest_path(ingest, config.socket_path)
        _refuse_in_the_way(ingest)
        _group_id(config.api.ingest_group)
    if config.api.tcp:
        bind_tcp(config.api.tcp).close()


def _refuse_ingest_path(ingest: Path, path: Path) -> None:
    """The address tells the two sockets apart, so it is written out, and not the other one's."""
    if ingest == path:
        raise ConfigError(
            f'[api] ingest_socket = "{ingest}" is the socket that may everything',
            hint="choose another name, in a folder that the producers reach",
        )
    if len(os.fsencode(ingest)) > LONGEST_PATH:
        raise ConfigError(
            f'[api] ingest_socket = "{ingest}" is longer than {LONGEST_PATH} bytes',
            hint='choose a shorter one, for example "/run/flywheel/ingest.sock"',
        )


def _group_id(name: str) -> int | None:
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
        with _address(path) as address:
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
    if len(os.fsencode(path)) <= LONGEST_PATH:
        yield os.fspath(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
    try:
        yield f"{BY_FOLDER}{folder}/{path.name}"
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


def tokens_of(table: ApiTable) -> tuple[BearerToken, ...]:
    """The tokens that TCP callers may send; none while TCP is off.

    Raises:
        ConfigError: TCP is on and there is no token; one is missing, too short, or another one
            too. The message names it, and never says what it is.
    """
    for name, each in table.tokens.items():
        if 0 < len((secret(each.env) or "").strip()) < TOKEN_LENGTH:
            raise ConfigError(
                f"[api.tokens.{name}] is shorter than {TOKEN_LENGTH} characters",
                hint="make one: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
            )
    if not table.tcp:
        return ()
    by_value: dict[str, BearerToken] = {}
    places: dict[str, str] = {}
    if table.token_env or not table.tokens:
        value = _value(table.token_env, f'[api] tcp = "{table.tcp}"')
        by_value[value], places[value] = bearer(value), "[api] token_env"
    for name, each in table.tokens.items():
        place = f"[api.tokens.{name}]"
        value = _value(each.env, place)
        if value in by_value:
            raise ConfigError(
                f"{places[value]} and {place} are the same token",
                hint="give each holder one of their own: who has it could be either",
            )
        by_value[value] = bearer(value, name, each.person, roles_of(each))
        places[value] = place
    return tuple(by_value.values())


def _value(name: str, place: str) -> str:
    """The token that a variable or a credential of this name holds."""
    value = (secret(name) or "").strip()
    if not value:
        named = f"{name} is not set" if name else "token_env is empty"
        raise ConfigError(
            f"{place} needs a token, and {named}",
            hint="name an environment variable or systemd credential in [api] token_env, or in "
            "`env` of [api.tokens.NAME]",
        )
    return value


def roles_of(table: TokenTable) -> frozenset[Role]:
    """What the holder of a token may."""
    return frozenset((table.role,) if table.role else table.roles)


def server_of(runtime: Runtime, loader: Loader, process_status: ProcessStatus) -> Server:
    """The server of this daemon's interface.

    Raises:
        ConfigError: TCP is on and there is no token.
    """
    table = runtime.config.api
    name = table.tcp.rpartition(":")[0].lower()
    tokens = tokens_of(table)
    if tokens and 0 < len(secret(table.token_env) or "") < TOKEN_LENGTH:
        log.warning("the token of [api] token_env is short: it can be guessed, and may everything")
    app = create_app(
        runtime,
        loader=loader,
        process_status=process_status,
        tokens=tokens,
        hosts=frozenset({name} if name else ()),
        main_socket=os.fspath(runtime.config.socket_path),
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
