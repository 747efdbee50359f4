"""Reading a request's body within its limit."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import BinaryIO

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from flywheel.api.answers import BadRequest, TooLarge
from flywheel.errors import NO_ROOM
from flywheel.store.failures import no_room

MAX_LINES = 200_000
"""Of one batch; more is refused with 413, so that the answer stays readable."""

_PIECE = 1 << 20  # bytes written at once


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body.

    Args:
        request: not read yet.
        limit: bytes.

    Raises:
        TooLarge: it is longer; at most `limit` bytes and one chunk were read.
    """
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise _too_large(limit)
    return bytes(body)


async def save_body(request: Request, file: BinaryIO) -> None:
    """Write the whole body, however long, to a new file; it is on disk when this returns.

    Raises:
        BadRequest: the caller cut it off.
        DiskFull: it has no room; what was written is the caller's to remove.
    """
    path = Path(file.name)
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > shutil.disk_usage(path.parent).free:
        raise no_room(path)
    piece = bytearray()
    try:
        async for chunk in request.stream():
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
    file.flush()
    os.fsync(file.fileno())


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
