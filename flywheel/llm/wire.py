"""The chat-completions wire format: response formats, token counts, Retry-After, errors.

Pure functions of requests, answers and headers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import openai

from flywheel.content import canonical

_BYTES_PER_TOKEN = 3.0  # where the server sends no counts; overestimates English


def formats(schema: Mapping[str, Any] | None) -> tuple[tuple[str, dict[str, Any]], ...]:
    """Return (name, request fields) of the response formats to try, the strictest first.

    Args:
        schema: the `json_schema` object of a `response_format`; None for plain text only.
    """
    plain: tuple[tuple[str, dict[str, Any]], ...] = (("text", {}),)
    if schema is None:
        return plain
    exact = {"response_format": {"type": "json_schema", "json_schema": schema}}
    return (("schema", exact), ("object", {"response_format": {"type": "json_object"}}), *plain)


def valid(value: Any) -> Any:
    """Return the JSON value without lone surrogates, which UTF-8 cannot encode."""
    return json.loads(canonical(value).encode("utf-8", "replace"))


def tokens(request: Mapping[str, Any], response: Mapping[str, Any]) -> tuple[int, int]:
    """Return (tokens in, tokens out) as the endpoint counts, or estimated from bytes."""
    usage = response.get("usage") or {}
    input_tokens, output_tokens = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if input_tokens is None:
        input_tokens = estimated(request["messages"])
    if output_tokens is None:
        output_tokens = _estimated(text_of(message_of(response).get("content")))
    return int(input_tokens), int(output_tokens)


def estimated(messages: Sequence[Mapping[str, Any]]) -> int:
    """Return an estimate of the messages' tokens."""
    return _estimated(canonical(messages))


def message_of(response: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the message of the first choice."""
    return response["choices"][0].get("message") or {}


def text_of(value: Any) -> str:
    """Return a message's content as text; some servers give a list of parts."""
    if isinstance(value, list):
        return "".join(str(part.get("text", "")) for part in value if isinstance(part, Mapping))
    return value if isinstance(value, str) else ""


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds the server asks to wait, given as a number or a date; None if it does not.

    >>> from datetime import UTC
    >>> retry_after({"retry-after": "2.5"}, datetime(2026, 11, 22, tzinfo=UTC))
    2.5
    >>> late = {"retry-after": "Sun, 22 Nov 2026 00:00:07 GMT"}
    >>> retry_after(late, datetime(2026, 11, 22, tzinfo=UTC))
    7.0
    """
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = headers.get(name, "")
        try:
            seconds = float(value) * unit
        except ValueError:
            seconds = _until(value, now)
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    return None


def told(error: Exception) -> str:
    """Return the kind of error, without the server's message, which may quote the request."""
    if isinstance(error, openai.APIStatusError):
        return f"status {error.status_code}"
    if isinstance(error, TimeoutError | openai.APITimeoutError):
        return "no answer in time"
    if isinstance(error, openai.APIConnectionError):
        return "no connection, or it was cut"
    return "its answer is not a chat completion"


def _estimated(text: str) -> int:
    return math.ceil(len(text.encode()) / _BYTES_PER_TOKEN)


def _until(value: str, now: datetime) -> float:
    """Seconds from now to an HTTP date; not a number when it is none."""
    try:
        return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
    except (TypeError, ValueError):
        return math.nan
