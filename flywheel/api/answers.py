"""JSON answers, and the one form of every error: {"error": what failed, "hint": what to do}."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from flywheel.errors import (
    ConfigError,
    DatabaseHeld,
    DiskFull,
    FlywheelError,
    NotFound,
    Refused,
    SourceUnavailable,
    TeacherUnavailable,
)
from flywheel.spool import SpoolFailed, SpoolFull
from flywheel.store import StoreFailed

log = logging.getLogger(__name__)


class BadRequest(FlywheelError):
    """The request cannot be read."""


class TooLarge(FlywheelError):
    """The request's body is over the limit."""


_STATUS: Mapping[type[FlywheelError], int] = {
    BadRequest: 400,
    ConfigError: 400,
    NotFound: 404,
    Refused: 409,
    TooLarge: 413,
    SpoolFull: 429,
    DatabaseHeld: 503,
    TeacherUnavailable: 503,
    SourceUnavailable: 503,
    StoreFailed: 503,
    SpoolFailed: 503,
    DiskFull: 507,
}
_HEADERS: Mapping[int, Mapping[str, str]] = {
    413: {"Connection": "close"},  # the rest of a body that is too large is not read
    429: {"Retry-After": "1"},
}


def answer(value: Any, status: int = 200) -> Response:
    """The value as JSON."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def problem(
    status: int, message: str, hint: str = "", headers: Mapping[str, str] | None = None
) -> Response:
    """An error as JSON."""
    body = msgspec.json.encode({"error": message, "hint": hint})
    return Response(body, status, dict(headers or {}), media_type="application/json")


def of_flywheel_error(request: Request, error: Exception) -> Response:
    """What a handler refused; its status by its kind, 500 for a kind without one."""
    assert isinstance(error, FlywheelError)
    status = next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)
    return problem(status, error.message, error.hint, _HEADERS.get(status))


def of_http_exception(request: Request, error: Exception) -> Response:
    """No such path or method."""
    assert isinstance(error, HTTPException)
    hint = "GET /openapi.json lists every path" if error.status_code in (404, 405) else ""
    what = f"{request.method} {request.url.path}: {error.detail.lower()}"
    return problem(error.status_code, what, hint, error.headers)


def of_defect(request: Request, error: Exception) -> Response:
    """A defect of the daemon. The answer says no more than that; the log has the places."""
    log.error(
        "%s %s broke",
        request.method,
        request.scope.get("path"),
        exc_info=error,
        extra={"event": "api.defect"},
    )
    return problem(500, "the daemon failed on this request", "see `flywheel log`")
