"""JSON answers, and the one form of every error: {"error": what failed, "hint": what to do}."""

from __future__ import annotations

import asyncio
import io
import logging
import shutil
from collections.abc import AsyncIterator, Mapping
from email.message import Message
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from flywheel import files
from flywheel.errors import (
    NO_ROOM,
    ConfigError,
    DatabaseHeld,
    DiskFull,
    FlywheelError,
    NotFound,
    Refused,
    SourceUnavailable,
    StoreFailed,
    TeacherUnavailable,
    TooManyRecords,
    full_disk,
    no_room,
)
from flywheel.file_records import decoding
from flywheel.file_records.brackets import MOST_VALUES, values_at_most
from flywheel.file_records.json_faults import is_utf8
from flywheel.formats.dispatch import MOST_RECORDS
from flywheel.spool import SpoolFailed, SpoolFull

log = logging.getLogger(__name__)


class BadRequest(FlywheelError):
    """The request cannot be read."""


class Forbidden(FlywheelError):
    """The caller is known, and has not the role that this takes."""


class TooSlow(FlywheelError):
    """The request's body does not come."""


class TooLarge(FlywheelError):
    """The request's body is over the limit."""


_STATUS: Mapping[type[FlywheelError], int] = {
    BadRequest: 400,
    ConfigError: 400,
    Forbidden: 403,
    NotFound: 404,
    Refused: 409,
    TooSlow: 408,
    TooLarge: 413,
    TooManyRecords: 413,
    SpoolFull: 429,
    DatabaseHeld: 503,
    TeacherUnavailable: 503,
    SourceUnavailable: 503,
    StoreFailed: 503,
    SpoolFailed: 503,
    DiskFull: 507,
}
_HEADERS: Mapping[int, Mapping[str, str]] = {
    408: {"Connection": "close"},
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
    status = status_of(error)
    return problem(status, error.message, error.hint, _HEADERS.get(status))


def status_of(error: FlywheelError) -> int:
    """The status of what a handler refused."""
    return next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)


def of_http_exception(request: Request, error: Exception) -> Response:
    """No such path or method."""
    assert isinstance(error, HTTPException)
    return problem(error.status_code, *not_found(request, error), error.headers)


def not_found(request: Request, error: HTTPException) -> tuple[str, str]:
    """Message and hint where there is no such path or method."""
    hint = "GET /openapi.json lists every path" if error.status_code in (404, 405) else ""
    return f"{request.method} {request.url.path}: {error.detail.lower()}", hint


def of_defect(request: Request, error: Exception) -> Response:
    """A defect of the daemon. The answer says no more than that; the log has the places."""
    tell_defect(request, error, "api.defect")
    return problem(500, "the daemon failed on this request", "see `flywheel log`")


def of_os_error(request: Request, error: Exception) -> Response:
    """507 where a file could not be written for want of room; else a defect."""
    assert isinstance(error, OSError)
    full = full_disk(error)
    return of_flywheel_error(request, full) if full else of_defect(request, error)


def tell_defect(request: Request, error: Exception, event: str) -> None:
    """Log what broke on a request, with its places."""
    method, path = request.method, request.scope.get("path")
    log.error("%s %s broke", method, path, exc_info=error, extra={"event": event})


# Reading a request's body within its limit.

MAX_LINES = MOST_RECORDS
"""Of one batch; lines are counted before anything is read."""

_PIECE = 1 << 20  # bytes written at once


STALLED_S = 30.0
"""A body of which nothing comes for so long is not waited for."""
SLOWEST = 16_384
"""Bytes a second that a body has to come with, after its first `STALLED_S`."""


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    """The body as it comes. Only the time that is spent waiting for it counts.

    Raises:
        TooSlow: nothing came for `STALLED_S`, or it came slower than `SLOWEST`.
    """
    clock = asyncio.get_running_loop().time
    stream, waited, seen = request.stream(), 0.0, 0
    while True:
        left = STALLED_S + seen / SLOWEST - waited
        began = clock()
        try:
            async with asyncio.timeout(min(STALLED_S, max(left, 0.0))):
                piece = await anext(stream, None)
        except TimeoutError as error:
            raise TooSlow(
                f"the body stalled after {seen:,} bytes", hint="send it again, in smaller batches"
            ) from error
        if piece is None:
            return
        waited += clock() - began
        seen += len(piece)
        yield piece


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body.

    Args:
        request: not read yet.
        limit: bytes.

    Raises:
        TooLarge: it is longer; at most `limit` bytes and one chunk were read.
        TooSlow: it stalled.
    """
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)
    body = bytearray()
    async for chunk in _pieces(request):
        body += chunk
        if len(body) > limit:
            raise _too_large(limit)
    return bytes(body)


async def read_plain_body(request: Request, limit: int, *, text: bool = True) -> bytes:
    """The whole body without its compression; a text in UTF-8.

    `Content-Encoding` names the compression; without it, and for UTF-16, the first bytes do. The
    charset of `Content-Type` is used where the body is not UTF-8.

    Args:
        request: not read yet.
        limit: bytes, before and after.
        text: the body is one; else it is left as it is but for its compression.

    Raises:
        TooLarge: it is longer, as it came or without its compression, or a text that may hold more
            than `MOST_VALUES` JSON values.
        BadRequest: the compression is not known, or the body is damaged.
    """
    body = await read_body(request, limit)
    codings = request.headers.get("content-encoding", "")
    charset = _charset(request.headers.get("content-type", ""))
    if codings or charset or body[:1] not in (b"{", b"[") or body[1:2] == b"\x00":
        body = await run_in_threadpool(_plain, body, codings, charset if text else None, limit)
    if text and len(body) > MOST_VALUES and (many := values_at_most(body)) > MOST_VALUES:
        raise TooLarge(
            f"the body has up to {many:,} values, over {MOST_VALUES:,}",
            hint="send it in smaller batches",
        )
    return body


def _plain(body: bytes, codings: str, charset: str | None, limit: int) -> bytes:
    names = [name.strip().lower() for name in codings.split(",")]
    try:
        body = decoding.inflated(body, names, limit)
        if len(body) <= limit and charset is not None:
            charset = "" if is_utf8(body) and b"\x00" not in body[:4] else charset
            pieces = decoding.plain(io.BytesIO(body), charset).pieces
            body = decoding.limited(pieces, limit)
    except FlywheelError as error:
        raise BadRequest(f"the body cannot be read: {error.message}", hint=error.hint) from error
    if len(body) > limit:
        raise _too_large(limit)
    return body


def _charset(content_type: str) -> str:
    """The charset of a Content-Type; "" for none, and for UTF-8."""
    if "charset" not in content_type.lower() or "utf-8" in content_type.lower():
        return ""
    message = Message()
    message["content-type"] = content_type
    charset = message.get_param("charset", "")
    return charset if isinstance(charset, str) else ""


async def save_body(request: Request, file: BinaryIO) -> None:
    """Write the whole body, however long, to a new file; it is on disk when this returns.

    Raises:
        BadRequest: the caller cut it off.
        TooSlow: it stalled.
        DiskFull: it has no room; what was written is the caller's to remove.
    """
    path = Path(file.name)
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > shutil.disk_usage(path.parent).free:
        raise no_room(path)
    piece = bytearray()
    try:
        async for chunk in _pieces(request):
            piece += chunk
            if len(piece) >= _PIECE:
                await run_in_threadpool(file.write, bytes(piece))
                piece.clear()
        await run_in_threadpool(_finish, file, bytes(piece))
    except ClientDisconnect as error:
        raise BadRequest("the body was cut off", hint="send it again") from error
    except OSError as error:
        if error.errno in NO_ROOM:
            raise no_room(path) from error
        raise


def _finish(file: BinaryIO, rest: bytes) -> None:
    file.write(rest)
    files.flush(file)


def refuse_unreadable(body: bytes) -> None:
    """Refuse a batch that is empty, or has more lines than an answer could name.

    Raises:
        BadRequest: there is nothing in it.
        TooLarge: more than `MAX_LINES` lines.
    """
    if not body.strip():
        raise BadRequest("the body is empty", hint="send a JSON object, or NDJSON for a batch")
    if body.count(b"\n") > MAX_LINES:
        raise TooLarge(
            f"the batch has more than {MAX_LINES:,} lines", hint="send it in smaller batches"
        )


def _too_large(limit: int) -> TooLarge:
    return TooLarge(
        f"the body is over {limit / 2**20:g} MiB",
        hint="send smaller batches, or raise [api] max_body_mb",
    )
