"""OpenAI's Responses API: a request with its response, or a response stored with its `input`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flywheel.formats.chat_log import read_pair
from flywheel.formats.reading import Context, Fields, Parsed, skip

NAME = "openai-responses"

_FAILED = ("failed", "cancelled", "incomplete")


def recognises(event: Mapping[str, Any]) -> bool:
    """Whether it is a response of this API, alone or with its request."""
    if event.get("object") == "response":
        return True
    request, response = event.get("request"), event.get("response")
    if not isinstance(request, Mapping) or not isinstance(response, Mapping):
        return False
    if response.get("object") == "response" or isinstance(response.get("output"), (list, tuple)):
        return True
    return "input" in request and "messages" not in request


def read(event: Mapping[str, Any], context: Context) -> Parsed:
    """Return the response as one prediction, named by its `id`; failed ones are skipped.

    Raises:
        BadEvent: `input`, the answer or a time is missing.
    """
    if event.get("object") == "response":
        fields = Fields(NAME, event)
        if fields.get("input") is None:
            raise fields.bad("input", "is missing: a response alone does not say what was asked")
        event = {"request": event, "response": event}
    response = Fields(NAME, event).inner("response")
    if response.get("status") in _FAILED and not response.get("output"):
        return skip("is a failed response")
    request = event.get("request")
    asks = "messages" if isinstance(request, Mapping) and "messages" in request else "input"
    return read_pair(event, context, NAME, asks)
