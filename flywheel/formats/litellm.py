"""LiteLLM's StandardLoggingPayload: one logged call of a chat model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flywheel.formats.calls import Exchange, exchange, predictions
from flywheel.formats.openai import first_choice
from flywheel.formats.reading import Context, Fields, Parsed, skip
from flywheel.formats.verdicts import right_calls
from flywheel.records import NONE, Prediction

NAME = "litellm"

_CHAT = ("completion", "acompletion", "text_completion", "atext_completion")
_REDACTED = "redacted-by-litellm"


def recognises(event: Mapping[str, Any]) -> bool:
    """Whether it is a logged call."""
    return "call_type" in event and bool({"startTime", "response_cost", "model"} & event.keys())


def read(event: Mapping[str, Any], context: Context) -> Parsed:
    """Return a successful chat call as predictions, named by `id`; other calls are skipped.

    Raises:
        BadEvent: `id`, `messages`, `response` or `startTime` is missing, or messages were
            redacted.
    """
    fields = Fields(NAME, event)
    if fields.text("call_type") not in _CHAT or event.get("status") == "failure":
        return skip("is no answered chat call")
    messages = fields.need("messages")
    if isinstance(messages, Mapping):
        messages = messages.get("messages", [messages])
    if messages == _REDACTED:
        raise fields.bad("messages", "was redacted: set `turn_off_message_logging` to false")
    said = exchange(messages, _answer(fields), fields, "messages", context.context_turns)
    if not said.calls and not isinstance(event.get("response"), Mapping):
        calls = right_calls(fields.need("response"), NAME, "response", names=False)
        said = Exchange(said.text, calls)
    started = fields.moment("startTime", naive_is_utc=True)
    latency = None
    if fields.get("endTime") is not None:
        latency = (fields.moment("endTime", naive_is_utc=True) - started).total_seconds() * 1e3
    answer = Prediction(
        id=fields.text("id"),
        ts=started,
        adapter=fields.maybe_text("model"),
        latency_ms=latency,
        slices=fields.slices("metadata"),
        text=said.text,
        intent=NONE,
    )
    return Parsed(predictions=predictions(answer, said.calls))


def _answer(fields: Fields) -> list[Any]:
    """The response's message, where the response is a whole one."""
    response = fields.need("response")
    if not isinstance(response, Mapping):
        return []
    if "choices" in response:
        return first_choice(fields.inner("response"))
    return [response]
