"""OpenAI chat records: request and response side by side, as NVIDIA's data flywheel logs them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flywheel.formats import anthropic, gemini, openai_responses
from flywheel.formats.chat_log import read_pair
from flywheel.formats.reading import Context, Fields, Parsed

NAME = "openai"

_ANSWERS = {"choices", "message", "content", "text", "tool_calls", "toolCalls", "function_call",
            "intent", "parsed", "error"}  # fmt: skip


def recognises(event: Mapping[str, Any]) -> bool:
    """Whether it is a request with its response, of no other protocol."""
    request = event.get("request")
    if not (isinstance(request, Mapping) and "messages" in request and "response" in event):
        return False
    return not any(other.recognises(event) for other in (anthropic, gemini, openai_responses))


def read(event: Mapping[str, Any], context: Context) -> Parsed:
    """Return the first choice as one prediction, named by `response.id`.

    Raises:
        BadEvent: `request.messages`, the answer or a time is missing.
    """
    response = event.get("response")
    if isinstance(response, Mapping) and not _ANSWERS & response.keys():
        raise Fields(NAME, response, "response").bad("choices", "is missing")
    return read_pair(event, context, NAME, "messages")
