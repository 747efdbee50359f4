"""The HTTP server on sockets of ours, without a word in signals, which the daemon handles."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator

import uvicorn

from flywheel.api import Vitals, create_app
from flywheel.api.peer import PeerProtocol
from flywheel.config import ApiTable, secret
from flywheel.errors import ConfigError
from flywheel.loader import Loader
from flywheel.turn import Wheel

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


def server_of(wheel: Wheel, loader: Loader, vitals: Vitals) -> Server:
    """The server of this wheel's interface.

    Raises:
        ConfigError: TCP is on and there is no token.
    """
    table = wheel.config.api
    name = table.tcp.rpartition(":")[0].lower()
    app = create_app(
        wheel,
        loader=loader,
        vitals=vitals,
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
