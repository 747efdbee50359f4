"""Gemini's generateContent: request and response side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flywheel.formats.chat_log import read_pair
from flywheel.formats.reading import Context, Parsed

NAME = "gemini"


def recognises(event: Mapping[str, Any]) -> bool:
    """Whether it is a request of contents with its response."""
    request = event.get("request")
    return isinstance(request, Mapping) and "contents" in request and "response" in event


def read(event: Mapping[str, Any], context: Context) -> Parsed:
    """Return the first candidate as one prediction, named by `responseId`.

    Raises:
        BadEvent: `request.contents`, the answer or a time is missing.
    """
    response = event.get("response")
    if isinstance(response, Mapping) and "responseId" in response:
        event = {**event, "response": {"id": response["responseId"], **response}}
    return read_pair(event, context, NAME, "contents")
