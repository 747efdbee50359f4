"""The HTTP interface: one table of routes, served over the Unix socket and, if asked, TCP."""

from __future__ import annotations

import socket

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flywheel.api import openapi
from flywheel.api.answers import answer, of_defect, of_flywheel_error, of_http_exception
from flywheel.api.metrics import Meter
from flywheel.api.peer import Guard
from flywheel.api.routes import ROUTES
from flywheel.api.vitals import Vitals
from flywheel.errors import FlywheelError
from flywheel.loader import Loader
from flywheel.turn import Wheel


def create_app(
    wheel: Wheel,
    *,
    loader: Loader | None = None,
    vitals: Vitals | None = None,
    token: str | None = None,
    hosts: frozenset[str] = frozenset(),
) -> Starlette:
    """The application of one wheel.

    Args:
        wheel: what the requests act on.
        loader: takes predictions and feedback; without one they are committed before the answer.
        vitals: what the daemon knows of itself; fresh counters when missing.
        token: the bearer token of TCP callers; None admits only the Unix socket.
        hosts: further names this daemon is reached by, with dots in them.
    """
    vitals = vitals or Vitals()
    known = hosts | {socket.gethostname().lower(), "localhost"}
    document = openapi.document(ROUTES)

    async def describe(request: Request) -> Response:
        return answer(document)

    app = Starlette(
        routes=[
            *(Route(one.path, one.handler, methods=[one.method]) for one in ROUTES),
            Route("/openapi.json", describe),
        ],
        middleware=[
            Middleware(Meter, requests=vitals.requests),
            Middleware(Guard, token=token, hosts=known),
        ],
        exception_handlers={
            FlywheelError: of_flywheel_error,
            HTTPException: of_http_exception,
            Exception: of_defect,
        },
    )
    app.state.wheel = wheel
    app.state.loader = loader
    app.state.vitals = vitals
    return app
