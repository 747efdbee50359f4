"""The HTTP interface: one table of routes, served over the Unix socket and, if asked, TCP."""

from __future__ import annotations

import functools
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flywheel import __version__
from flywheel.api.attempts import of_forbidden, of_refused
from flywheel.api.prometheus import ProcessStatus
from flywheel.api.routes import ROUTES, ApiRoute
from flywheel.errors import FlywheelError, Refused
from flywheel.loader import Loader
from flywheel.turn import Runtime
from flywheel.web.guard import BearerToken, Guard, bearer, demand
from flywheel.web.http import Forbidden, answer, of_defect, of_flywheel_error, of_http_exception
from flywheel.web.refusals import Refusals
from flywheel.web.request_metrics import Meter

# The OpenAPI document, assembled from the table of routes.

_ERROR = {
    "description": "refused; the body says why and what to do",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["error", "hint"],
                "properties": {"error": {"type": "string"}, "hint": {"type": "string"}},
            }
        }
    },
}


def document(routes: Sequence[ApiRoute]) -> dict[str, Any]:
    """OpenAPI 3.1 of these routes."""
    bodies = sorted({one.body for one in routes if one.body}, key=lambda body: body.__name__)
    replies = [one.reply for one in routes if one.reply is not None]
    schemas, components = msgspec.json.schema_components(
        [*bodies, *replies], ref_template="#/components/schemas/{name}"
    )
    by_body = dict(zip(bodies, schemas, strict=False))
    by_reply = iter(schemas[len(bodies) :])
    paths: dict[str, dict[str, Any]] = {}
    for one in routes:
        body = by_body[one.body] if one.body else None
        reply = next(by_reply) if one.reply is not None else None
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, body, reply)
    return {
        "openapi": "3.1.0",
        "info": {"title": "flywheel", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}, {}],
    }


def _operation(
    route: ApiRoute, body: dict[str, Any] | None, reply: dict[str, Any] | None
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "summary": (route.handler.__doc__ or "").splitlines()[0],
        "x-role": f"{route.role} or {route.or_role}" if route.or_role else route.role,
        "responses": _responses(route, reply),
    }
    names = re.findall(r"{(\w+)}", route.path)
    if names:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in names
        ]
    if body is not None:
        content = {"application/json": {"schema": body}}
        if route.batch:
            content["application/x-ndjson"] = {"schema": body}
        operation["requestBody"] = {"required": route.batch, "content": content}
    if route.file:
        content = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _responses(route: ApiRoute, reply: dict[str, Any] | None) -> dict[str, Any]:
    content = {route.media_type: {} if reply is None else {"schema": reply}}
    answers = {str(route.status): {"description": "done", "content": content}}
    if route.refused is not None:
        answers[str(route.refused)] = {"description": "nothing could be used", "content": content}
    return {**answers, "default": _ERROR}


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
            *(Route(one.path, _gated(one), methods=[one.method]) for one in ROUTES),
            Route("/openapi.json", _describing(document(ROUTES))),  # for whoever is known
        ],
        middleware=[Middleware(Meter, requests=process_status.requests), guard],
        exception_handlers={
            Forbidden: of_forbidden,
            Refused: of_refused,
            FlywheelError: of_flywheel_error,
            HTTPException: of_http_exception,
            Exception: of_defect,
        },
    )
    app.state.runtime = runtime
    app.state.loader = loader
    app.state.process_status = process_status
    app.state.refusals = refusals
    return app


def _describing(described: dict[str, Any]) -> Callable[[Request], Awaitable[Response]]:
    async def describe(request: Request) -> Response:
        return answer(described)

    return describe


def _gated(route: ApiRoute) -> Callable[[Request], Awaitable[Response]]:
    """The route's handler for those who have its role; so no other path leads to it."""
    role = route.role
    if role == "anyone":
        return route.handler

    @functools.wraps(route.handler)
    async def gated(request: Request) -> Response:
        demand(request, role, or_role=route.or_role)
        return await route.handler(request)

    return gated
