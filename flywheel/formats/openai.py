"""OpenAI chat records: request and response side by side, as NVIDIA's data flywheel logs them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flywheel.formats.calls import asked, predictions
from flywheel.formats.reading import Context, Fields, Parsed, skip
from flywheel.formats.replies import Rule, read_reply
from flywheel.records import NONE, Prediction

NAME = "openai"


def recognises(event: Mapping[str, Any]) -> bool:
    """Whether it is a request with its response."""
    request = event.get("request")
    return isinstance(request, Mapping) and "messages" in request and "response" in event


def read(event: Mapping[str, Any], context: Context) -> Parsed:
    """Return one prediction a tool call of the first choice, named by `response.id`.

    Raises:
        BadEvent: `request.messages`, `response.choices`, `response.id` or a time is missing.
    """
    fields = Fields(NAME, event)
    request, response = fields.inner("request"), fields.inner("response")
    said = asked(request.need("messages"), request, "messages", context.context_turns)
    if said.continues:
        return skip(f"continues a turn: {said.continues}")
    rule = Rule(format=NAME, known=context.known)
    reply = read_reply({"choices": response.need("choices")}, "response", rule)
    whole = Fields(NAME, {"timestamp": response.get("created"), **_present(event)})
    answer = Prediction(
        id=response.text("id"),
        ts=whole.moment("timestamp"),
        adapter=response.maybe_text("model") or request.maybe_text("model"),
        slices={
            **fields.slices("metadata"),
            **({"workload": fields.text("workload_id")} if fields.get("workload_id") else {}),
        },
        text=said.text,
        intent=NONE,
    )
    return Parsed(predictions=predictions(answer, reply.calls, reply.malformed))


def first_choice(response: Fields) -> list[Any]:
    """Return the message of a response's first choice, by its index."""
    choices = response.need("choices")
    if not isinstance(choices, (list, tuple)) or not choices:
        raise response.bad("choices", "is not a list with a choice")
    for number, choice in enumerate(choices):
        if not isinstance(choice, Mapping) or not isinstance(choice.get("message"), Mapping):
            raise response.bad(f"choices[{number}].message", "is missing")
    first = next((choice for choice in choices if choice.get("index") == 0), choices[0])
    return [first["message"]]


def _present(event: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in event.items() if value is not None}
