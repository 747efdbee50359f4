"""`POST /v1/chat/completions`: messages and tools in, one call or a plain refusal out.

A stream is accepted. The answer is there as a whole before its first chunk is sent, so that what
is refused has a status of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from flywheel.inference.openai_call import (
    Called,
    called,
    event,
    named_model,
    passed_on,
    read_openai,
    refuse_unsupported,
    streams,
)
from flywheel.inference.refused import NotServable
from flywheel.inference.service import AnswerService
from flywheel.web.http import read_plain_body

_REFUSED: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "n": (lambda value: value == 1, "one answer is given: leave it out"),
    "logprobs": (lambda value: value is False, "the header x-flywheel-confidence has it"),
    "top_logprobs": (lambda value: value == 0, "the header x-flywheel-confidence has it"),
    "response_format": (
        lambda value: isinstance(value, dict) and value.get("type") == "text",
        "calls have their arguments as JSON: leave it out",
    ),
    "modalities": (lambda value: value == ["text"], "only words are given: leave it out"),
    "audio": (lambda value: False, "only words are given: leave it out"),
    "functions": (lambda value: value == [], "write them as `tools`"),
    "function_call": (lambda value: value == "auto", "write it as `tool_choice`"),
    "web_search_options": (lambda value: False, "nothing is searched: leave it out"),
}


class ChatRequest(msgspec.Struct, kw_only=True):
    """A request of OpenAI's Chat Completions. Further fields of it are accepted and ignored."""

    model: str  # "champion", or the id of the adapter that answers
    messages: list[dict[str, Any]]  # judged on the last user message
    tools: list[dict[str, Any]] | None = None  # of those that the adapter was trained on
    tool_choice: str | dict[str, Any] | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    user: str | None = None  # who asks
    metadata: dict[str, Any] | None = None  # `session_id`, `user_id`, and slices


class ChatView(msgspec.Struct, kw_only=True):
    """A completion of OpenAI's Chat Completions."""

    id: str  # of the prediction: feedback names it
    object: str
    created: int
    model: str  # the adapter that answered
    choices: list[dict[str, Any]]
    usage: dict[str, Any]  # tokens read of the judged text; of the answer, one for 4 bytes


async def chat_completions(request: Request) -> Response:
    """Answer a conversation with one call or a plain refusal, in OpenAI's form."""
    service: AnswerService = request.app.state.service
    body = read_openai(await read_plain_body(request, service.max_body))
    if passed := await passed_on(request, body, "chat/completions"):
        return passed
    fields = body.fields
    loaded = named_model(service, fields.get("model"))
    refuse_unsupported(fields, _REFUSED)
    streamed, with_usage = streams(fields), _wants_usage(fields)
    made = await called(request, body, "messages", "chatcmpl", loaded)
    if streamed:
        content = b"".join(_chunks(made, with_usage=with_usage))
        return Response(content, 200, dict(made.headers), media_type="text/event-stream")
    content = msgspec.json.encode(_completion(made))
    return Response(content, 200, dict(made.headers), media_type="application/json")


def _wants_usage(fields: Mapping[str, Any]) -> bool:
    options = fields.get("stream_options")
    if options is None:
        return False
    if not isinstance(options, Mapping) or not fields.get("stream"):
        raise NotServable(
            "`stream_options` takes an object, beside `stream`",
            hint="leave it out, or stream",
            param="stream_options",
        )
    return options.get("include_usage") is True


def _completion(made: Called) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": made.words or None,
        "refusal": None,
        "annotations": [],
    }
    if made.function:
        message["tool_calls"] = [_call(made)]
    return {
        **_head(made, "chat.completion"),
        "choices": [
            {
                "index": 0,
                "message": message,
                "logprobs": None,
                "finish_reason": _finish(made),
            }
        ],
        "usage": _usage(made),
    }


def _usage(made: Called) -> dict[str, int]:
    sent, written = made.prompt_tokens, made.completion_tokens
    return {"prompt_tokens": sent, "completion_tokens": written, "total_tokens": sent + written}


def _call(made: Called) -> dict[str, Any]:
    function = {"name": made.function, "arguments": made.arguments}
    return {"id": made.call_id, "type": "function", "function": function}


def _finish(made: Called) -> str:
    return "tool_calls" if made.function else "stop"


def _head(made: Called, kind: str) -> dict[str, Any]:
    return {
        "id": made.id,
        "object": kind,
        "created": int(time.time()),
        "model": made.adapter,
        "system_fingerprint": made.adapter,
    }


def _chunks(made: Called, *, with_usage: bool) -> list[bytes]:
    head = _head(made, "chat.completion.chunk")
    if with_usage:
        head["usage"] = None
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": None, "refusal": None}]
    if made.function:
        begun = {"index": 0, **_call(made), "function": {"name": made.function, "arguments": ""}}
        given = {"index": 0, "function": {"arguments": made.arguments}}
        deltas += [{"tool_calls": [begun]}, {"tool_calls": [given]}]
    else:
        deltas += [{"content": made.words}]
    ends: list[str | None] = [*[None] * len(deltas), _finish(made)]
    chunks = [
        event({**head, "choices": [_choice(delta, end)]})
        for delta, end in zip([*deltas, {}], ends, strict=True)
    ]
    if with_usage:
        chunks.append(event({**head, "choices": [], "usage": _usage(made)}))
    return [*chunks, b"data: [DONE]\n\n"]


def _choice(delta: Mapping[str, Any], end: str | None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": end}
