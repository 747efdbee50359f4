"""Anthropic's Messages API: request and response side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flywheel.formats.chat_log import read_pair
from flywheel.formats.reading import Context, Parsed

NAME = "anthropic"


def recognises(event: Mapping[str, Any]) -> bool:
    """Whether it is a request of messages with a response that is a message of blocks."""
    request, response = event.get("request"), event.get("response")
    if not (isinstance(request, Mapping) and "messages" in request):
        return False
    if not isinstance(response, Mapping) or {"choices", "output"} & response.keys():
        return False
    return response.get("type") == "message" or isinstance(response.get("content"), (list, tuple))


def read(event: Mapping[str, Any], context: Context) -> Parsed:
    """Return the response as one prediction, named by `response.id`.

    Raises:
        BadEvent: `request.messages`, the answer or a time is missing.
    """
    return read_pair(event, context, NAME, "messages")
