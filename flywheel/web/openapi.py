"""A route of HTTP as a record: who may call it, what it carries, and its OpenAPI description."""

from __future__ import annotations

import functools
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from flywheel import __version__
from flywheel.config import Role
from flywheel.web.guard import demand
from flywheel.web.http import answer

Needed = Role | Literal["anyone"]
"""What a route takes: a role, or nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRoute:
    """One method of one path; the handler's docstring is its description."""

    method: str
    path: str
    role: Needed  # that a caller needs; anyone: also a stranger
    handler: Callable[[Request], Awaitable[Response]]
    or_role: Role | None = None  # another one that is enough
    body: type[Any] | None = None  # what a request carries
    reply: Any = None  # type of a JSON answer; None: the answer is no JSON
    batch: bool = False  # NDJSON is taken too
    file: bool = False  # a request carries a file
    media_type: str = "application/json"  # of the answer
    openai: bool = False  # errors are in the form of OpenAI
    status: int = 200  # of success
    refused: int | None = None  # status of the same answer where nothing could be used


# The OpenAPI document, assembled from a table of routes.

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

_OPENAI_ERROR = {
    "description": "refused; the body says why, in the form of OpenAI",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["error"],
                "properties": {
                    "error": {
                        "type": "object",
                        "required": ["message", "type", "param", "code"],
                        "properties": {
                            "message": {"type": "string"},
                            "type": {"type": "string"},
                            "param": {"type": ["string", "null"]},
                            "code": {"type": ["string", "null"]},
                        },
                    }
                },
            }
        }
    },
}


def document(routes: Sequence[ApiRoute], title: str = "flywheel") -> dict[str, Any]:
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
        "info": {"title": title, "version": __version__},
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
    return {**answers, "default": _OPENAI_ERROR if route.openai else _ERROR}


def describing(described: dict[str, Any]) -> Callable[[Request], Awaitable[Response]]:
    """A handler that answers with an OpenAPI document."""

    async def describe(request: Request) -> Response:
        return answer(described)

    return describe


def gated_by_role(route: ApiRoute) -> Callable[[Request], Awaitable[Response]]:
    """The route's handler for those who have its role; so no other path leads to it."""
    role = route.role
    if role == "anyone":
        return route.handler

    @functools.wraps(route.handler)
    async def gated(request: Request) -> Response:
        demand(request, role, or_role=route.or_role)
        return await route.handler(request)

    return gated
