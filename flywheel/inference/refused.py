"""What is refused, in the form of the route: OpenAI's on the routes that are OpenAI's, else ours.

OpenAI's form is {"error": {"message", "type", "param", "code"}}; ours {"error", "hint"}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from flywheel.errors import FlywheelError, full_disk
from flywheel.inference.batching import DeadlinePassed, EngineFailed, QueueFull
from flywheel.web import http
from flywheel.web.http import Forbidden, not_found, tell_defect

OPENAI_PATHS = ("/v1/chat/", "/v1/responses", "/v1/models")
"""Beginnings of the paths whose errors are in OpenAI's form."""


class NoChampion(FlywheelError):
    """There is no adapter yet that could answer."""


class LogFull(FlywheelError):
    """The log takes nothing now."""


class NotServable(FlywheelError):
    """A request of OpenAI's protocol that cannot be served as asked.

    Args:
        message: what cannot be served, and why.
        hint: what the caller does instead.
        param: the field of the request; "" for none.
        code: for programs, such as `model_not_found`.
        status: 4xx.
    """

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        param: str = "",
        code: str = "unsupported_value",
        status: int = 400,
    ) -> None:
        super().__init__(message, hint)
        self.param = param
        self.code = code
        self.status = status


_OWN: Mapping[type[FlywheelError], tuple[int, str]] = {
    QueueFull: (429, "rate_limit_exceeded"),
    DeadlinePassed: (504, "deadline_exceeded"),
    EngineFailed: (500, "engine_failed"),
    NoChampion: (503, "no_champion"),
    LogFull: (503, "log_full"),
}
_CODES = {
    400: "invalid_request",
    401: "invalid_api_key",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "request_too_large",
    429: "rate_limit_exceeded",
}
_RETRY_S = {429: "1", 503: "5", 504: "1"}  # of Retry-After


def refuse(
    path: str,
    status: int,
    message: str,
    hint: str,
    headers: Mapping[str, str] | None = None,
    *,
    param: str = "",
    code: str = "",
) -> Response:
    """The answer to a refused request, in the form of its path."""
    headers = dict(headers or {})
    if status in _RETRY_S:
        headers.setdefault("Retry-After", _RETRY_S[status])
    if not path.startswith(OPENAI_PATHS):
        return http.problem(status, message, hint, headers)
    body: dict[str, Any] = {
        "message": f"{message}: {hint}" if hint else message,
        "type": "invalid_request_error" if status < 500 and status != 429 else _type(status),
        "param": param or None,
        "code": code or _CODES.get(status, "server_error"),
    }
    return Response(
        msgspec.json.encode({"error": body}), status, headers, media_type="application/json"
    )


def _type(status: int) -> str:
    return "rate_limit_error" if status == 429 else "server_error"


def of_flywheel_error(request: Request, error: Exception) -> Response:
    """What a handler refused."""
    assert isinstance(error, FlywheelError)
    status, code, param = http.status_of(error), "", ""
    if isinstance(error, NotServable):
        status, code, param = error.status, error.code, error.param
    elif type(error) in _OWN:
        status, code = _OWN[type(error)]
    request.app.state.service.metrics.refused(code or _CODES.get(status, str(status)))
    headers = {"Connection": "close"} if status == 413 else None
    return refuse(
        request.scope["path"], status, error.message, error.hint, headers, param=param, code=code
    )


def of_forbidden(request: Request, error: Exception) -> Response:
    """403, counted as what a known caller may not."""
    assert isinstance(error, Forbidden)
    request.app.state.refusals.count("role", str(request.scope.get("flywheel.caller")))
    return of_flywheel_error(request, error)


def of_http_exception(request: Request, error: Exception) -> Response:
    """No such path or method."""
    assert isinstance(error, HTTPException)
    words = not_found(request, error)
    return refuse(request.scope["path"], error.status_code, *words, error.headers)


def of_os_error(request: Request, error: Exception) -> Response:
    """507 where a file could not be written for want of room; else a defect."""
    assert isinstance(error, OSError)
    full = full_disk(error)
    return of_flywheel_error(request, full) if full else of_defect(request, error)


def of_defect(request: Request, error: Exception) -> Response:
    """A defect of the server. The answer says no more than that; the log has the places."""
    tell_defect(request, error, "serve.defect")
    return refuse(
        request.scope["path"], 500, "the server failed on this request", "see its log", None
    )
