"""The daemon's doors: whether it could listen, and the HTTP server of its interface.

Who may write to the socket in the state folder may do everything. A second Unix socket, for those
who produce events, gives them the role `ingest` and no other.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from flywheel.api import ProcessStatus, create_app
from flywheel.config import Config, secret
from flywheel.errors import ConfigError
from flywheel.loader import Loader
from flywheel.turn import Runtime
from flywheel.unix_socket import LONGEST_PATH
from flywheel.web.sockets import Server, bind_tcp, group_id, refuse_in_the_way, server
from flywheel.web.tokens import TOKEN_LENGTH, tokens_of

log = logging.getLogger(__name__)


def can_listen(config: Config) -> None:
    """Try whether the daemon could listen, and let go again; for a daemon that does not run yet.

    Raises:
        FlywheelError: something else has a socket's name, there is no such group, or the TCP
            address cannot be had.
    """
    refuse_in_the_way(config.socket_path)
    ingest = config.ingest_path
    if ingest is not None:
        _refuse_ingest_path(ingest, config.socket_path)
        refuse_in_the_way(ingest)
        group_id(config.api.ingest_group)
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
    return server(app)
