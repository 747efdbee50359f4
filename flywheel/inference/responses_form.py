"""`POST /v1/responses`: OpenAI's Responses API; a `function_call` item or a message out.

Nothing is stored: `previous_response_id` says whose conversation it is, and no more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from flywheel.inference.openai_call import (
    Called,
    OpenAIBody,
    called,
    event,
    named_model,
    passed_on,
    read_openai,
    refuse_unsupported,
    streams,
)
from flywheel.inference.service import AnswerService
from flywheel.web.http import read_plain_body

_REFUSED: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "background": (lambda value: value is False, "answers are given at once: leave it out"),
    "top_logprobs": (lambda value: value == 0, "the header x-flywheel-confidence has it"),
    "text": (
        lambda value: (
            isinstance(value, dict)
            and (value.get("format") or {"type": "text"}) == {"type": "text"}
        ),
        "calls have their arguments as JSON: leave `format` out",
    ),
    "prompt": (lambda value: False, "no prompts are kept here: send `input`"),
    "include": (
        lambda value: isinstance(value, list) and not any("logprobs" in str(v) for v in value),
        "the header x-flywheel-confidence has it",
    ),
}
_ECHOED: Mapping[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": None,
    "safety_identifier": None,
    "service_tier": None,
    "temperature": None,
    "tool_choice": "auto",
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
"""Fields of a request that its response repeats, with what stands for a missing one."""


class ResponsesRequest(msgspec.Struct, kw_only=True):
    """A request of OpenAI's Responses API. Further fields of it are accepted and ignored."""

    model: str  # "champion", or the id of the adapter that answers
    input: str | list[dict[str, Any]]  # judged on the last user message
    tools: list[dict[str, Any]] | None = None  # of those that the adapter was trained on
    tool_choice: str | dict[str, Any] | None = None
    stream: bool | None = None
    user: str | None = None  # who asks
    metadata: dict[str, Any] | None = None  # `session_id`, `user_id`, and slices


class ResponseView(msgspec.Struct, kw_only=True):
    """A response of OpenAI's Responses API."""

    id: str  # of the prediction: feedback names it
    object: str
    created_at: int
    status: str
    model: str  # the adapter that answered
    output: list[dict[str, Any]]
    usage: dict[str, Any]  # tokens read of the judged text; of the answer, one for 4 bytes


async def responses(request: Request) -> Response:
    """Answer with a `function_call` item, or a message, in the form of OpenAI's Responses."""
    service: AnswerService = request.app.state.service
    body = read_openai(await read_plain_body(request, service.max_body))
    if passed := await passed_on(request, body, "responses"):
        return passed
    loaded = named_model(service, body.fields.get("model"))
    refuse_unsupported(body.fields, _REFUSED)
    streamed = streams(body.fields)
    made = await called(request, body, "input", "resp", loaded)
    response = _response(made, body)
    if streamed:
        content = b"".join(_events(response))
        return Response(content, 200, dict(made.headers), media_type="text/event-stream")
    content = msgspec.json.encode(response)
    return Response(content, 200, dict(made.headers), media_type="application/json")


def _response(made: Called, body: OpenAIBody) -> dict[str, Any]:
    given = body.fields
    echoed = {
        name: default if given.get(name) is None else given[name]
        for name, default in _ECHOED.items()
    }
    return {
        "id": made.id,
        "object": "response",
        "created_at": int(time.time()),
        "status": "completed",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": made.adapter,
        "output": [_item(made)],
        **echoed,
        "store": False,
        "text": {"format": {"type": "text"}},
        "tools": msgspec.Raw(body.tools if body.tools not in (b"", b"null") else b"[]"),
        "usage": {
            "input_tokens": made.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": made.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": made.prompt_tokens + made.completion_tokens,
        },
    }


def _item(made: Called) -> dict[str, Any]:
    number = made.id.partition("-")[2]
    if made.function:
        return {
            "type": "function_call",
            "id": f"fc-{number}",
            "call_id": made.call_id,
            "name": made.function,
            "arguments": made.arguments,
            "status": "completed",
        }
    return {
        "type": "message",
        "id": f"msg-{number}",
        "role": "assistant",
        "status": "completed",
        "content": [_words(made.words)],
    }


def _words(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _events(response: Mapping[str, Any]) -> Iterator[bytes]:
    """The response as a stream of events, as clients put it together."""
    begun = {**response, "status": "in_progress", "output": [], "usage": None}
    steps = [
        ("response.created", {"response": begun}),
        ("response.in_progress", {"response": begun}),
        *_item_events(response["output"][0]),
        ("response.completed", {"response": response}),
    ]
    for number, (name, value) in enumerate(steps):
        yield event({"type": name, "sequence_number": number, **value}, name)


def _item_events(item: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    place = {"output_index": 0, "item_id": item["id"]}
    if item["type"] == "function_call":
        begun = {**item, "arguments": "", "status": "in_progress"}
        yield "response.output_item.added", {"output_index": 0, "item": begun}
        name = "response.function_call_arguments"
        yield f"{name}.delta", {**place, "delta": item["arguments"]}
        yield f"{name}.done", {**place, "arguments": item["arguments"], "name": item["name"]}
    else:
        begun = {**item, "content": [], "status": "in_progress"}
        yield "response.output_item.added", {"output_index": 0, "item": begun}
        part = {**place, "content_index": 0}
        text = item["content"][0]["text"]
        yield "response.content_part.added", {**part, "part": _words("")}
        yield "response.output_text.delta", {**part, "delta": text, "logprobs": []}
        yield "response.output_text.done", {**part, "text": text, "logprobs": []}
        yield "response.content_part.done", {**part, "part": _words(text)}
    yield "response.output_item.done", {"output_index": 0, "item": item}
