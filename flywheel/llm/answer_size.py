"""How much of an endpoint's answer is taken: bytes, as sent and inflated, and JSON values.

It is measured before anything is parsed. A few hundred kilobytes can be gigabytes of objects, and
an answer of a teacher is some kilobytes. It is inflated as a request's body is, piece by piece, so
that the limit holds for a piece too.
"""

from __future__ import annotations

from typing import Any

from openai import DefaultAsyncHttpxClient

from flywheel.errors import FlywheelError
from flywheel.file_records.brackets import values_at_most
from flywheel.file_records.decoding import inflated

MOST_BYTES = 8 << 20
"""Of one answer, as sent and inflated."""
MOST_ANSWER_VALUES = 100_000
"""JSON values of one answer, keys included."""

_AS_SENT = ("content-encoding", "content-length", "transfer-encoding")


class AnswerTooLarge(FlywheelError):
    """An answer is larger than any that a model gives; asking again would buy the same."""


class BoundedClient(DefaultAsyncHttpxClient):
    """Reads whole answers up to the limits, and hands them on inflated."""

    async def send(self, request: Any, **options: Any) -> Any:
        """Return the answer with its body read.

        Raises:
            AnswerTooLarge: it is above a limit; the rest of it is not read.
            Undecodable: it cannot be inflated.
        """
        request.headers["Accept-Encoding"] = "gzip, deflate"  # what can be inflated up to a limit
        answer = await super().send(request, **{**options, "stream": True})
        sent = bytearray()
        try:
            async for part in answer.aiter_raw():
                sent += part
                _refuse_above(len(sent), MOST_BYTES, "bytes")
        finally:
            await answer.aclose()
        codings = answer.headers.get("content-encoding", "")
        names = [name.strip().lower() for name in codings.split(",")]
        body = inflated(bytes(sent), names, MOST_BYTES) if codings else bytes(sent)
        _refuse_above(len(body), MOST_BYTES, "bytes")
        _refuse_above(values_at_most(body), MOST_ANSWER_VALUES, "JSON values")
        kept = [pair for pair in answer.headers.multi_items() if pair[0].lower() not in _AS_SENT]
        return type(answer)(answer.status_code, headers=kept, content=body, request=answer.request)


def _refuse_above(many: int, most: int, what: str) -> None:
    if many > most:
        raise AnswerTooLarge(f"its answer has over {most:,} {what}")
