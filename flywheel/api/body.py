"""Reading a request's body within its limit."""

from __future__ import annotations

from starlette.requests import Request

from flywheel.api.answers import BadRequest, TooLarge

MAX_LINES = 200_000
"""Of one batch; more is refused with 413, so that the answer stays readable."""


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
