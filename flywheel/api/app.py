"""The HTTP interface: one table of routes, served over the Unix socket and, if asked, TCP."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flywheel.api.attempts import of_forbidden, of_refused
from flywheel.api.prometheus import ProcessStatus
from flywheel.api.routes import ROUTES
from flywheel.errors import FlywheelError, Refused
from flywheel.loader import Loader
from flywheel.turn import Runtime
from flywheel.web.guard import BearerToken, Guard, bearer
from flywheel.web.http import (
    Forbidden,
    of_defect,
    of_flywheel_error,
    of_http_exception,
    of_os_error,
)
from flywheel.web.openapi import describing, document, gated_by_role
from flywheel.web.refusals import Refusals
from flywheel.web.request_metrics import Meter

_ANSWERS: dict[Any, Callable[[Request, Exception], Response | Awaitable[Response]]] = {
    Forbidden: of_forbidden,
    Refused: of_refused,
    FlywheelError: of_flywheel_error,
    HTTPException: of_http_exception,
    OSError: of_os_error,
    Exception: of_defect,
}
"""What answers where a handler raised."""


def create_app(
    runtime: Runtime,
    *,
    loader: Loader | None = None,
    process_status: ProcessStatus | None = None,
    token: str | None = None,
    tokens: Sequence[BearerToken] = (),
    hosts: frozenset[str] = frozenset(),
    main_socket: str = "",
) -> Starlette:
    """The application of one runtime.

    Args:
        runtime: what the requests act on.
        loader: takes predictions and feedback; without one they are committed before the answer.
        process_status: what the daemon knows of itself; fresh counters when missing.
        token: a bearer token of TCP that may everything, and is nobody's; None: there is none.
        tokens: further ones, each with its roles; without any only the Unix sockets admit.
        hosts: further names this daemon is reached by, with dots in them.
        main_socket: path of the Unix socket whose callers have every role, where there is another
            one, whose callers have the role `ingest` alone.
    """
    process_status = process_status or ProcessStatus()
    refusals = Refusals(process_status.requests)
    guard = Middleware(
        Guard,
        tokens=[*([bearer(token)] if token else ()), *tokens],
        hosts=hosts | {socket.gethostname().lower(), "localhost"},
        main_socket=main_socket,
        refusals=refusals,
    )
    app = Starlette(
        routes=[
            *(Route(one.path, gated_by_role(one), methods=[one.method]) for one in ROUTES),
            Route("/openapi.json", describing(document(ROUTES))),  # for whoever is known
        ],
        middleware=[Middleware(Meter, requests=process_status.requests), guard],
        exception_handlers=_ANSWERS,
    )
    app.state.runtime = runtime
    app.state.loader = loader
    app.state.process_status = process_status
    app.state.refusals = refusals
    return app
