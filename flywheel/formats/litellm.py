"""LiteLLM: StandardLoggingPayload of its callbacks, and rows of LiteLLM_SpendLogs.

Content is there only where it was asked for; a payload may then be an object or JSON text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flywheel.formats.calls import asked, only_results, spoken_in
from flywheel.formats.chat_log import (
    Logged,
    answered,
    identity_in,
    latency,
    metadata_of,
    tools_id,
)
from flywheel.formats.reading import BadEvent, Context, Fields, Parsed, merged, skip
from flywheel.formats.replies import Rule, read_reply
from flywheel.formats.tool_results import call_ids, tool_scores

NAME = "litellm"

_ANSWERED = frozenset(
    {
        "completion",
        "text_completion",
        "responses",
        "anthropic_messages",
        "generate_content",
        "generate_content_stream",
        "pass_through_endpoint",
        "allm_passthrough_route",
        "llm_passthrough_route",
    }
)
_REDACTED = "redacted-by-litellm"
_STORE = "set `store_prompts_in_spend_logs`"


def recognises(event: Mapping[str, Any]) -> bool:
    """Whether it is a logged call."""
    marks = {"startTime", "response_cost", "model", "spend", "request_id"}
    return "call_type" in event and bool(marks & event.keys())


def read(event: Mapping[str, Any], context: Context) -> Parsed:
    """Return a successful call of a model as one prediction; other calls are skipped.

    Raises:
        BadEvent: `id`, `messages`, `response` or `startTime` is missing, messages were redacted,
            or the response says nothing.
    """
    fields = Fields(NAME, event)
    kind = fields.text("call_type")
    if kind not in _ANSWERED and kind.removeprefix("a") not in _ANSWERED:
        named = kind if kind.isidentifier() and len(kind) <= 40 else "of another type"
        return skip(f"is no answer of a model ({named})")
    metadata = metadata_of(fields)
    if "failure" in (event.get("status"), metadata.get("status")):
        return skip("is a call that failed")
    messages = _messages(fields)
    if only_results(messages, fields, "messages"):
        return _continuing("it brings a tool's result", messages, fields, context)
    said = asked(messages, fields, "messages", context.context_turns)
    if said.continues:
        return _continuing(said.continues, messages, fields, context)
    response = fields.need("response")
    if response in ({}, "{}"):
        raise fields.bad("response", f"is empty: {_STORE}")
    saying = read_reply(response, "response", Rule(format=NAME, known=context.known))
    return answered(said, saying, _logged(fields, metadata, context))


def _continuing(why: str, messages: Any, fields: Fields, context: Context) -> Parsed:
    """A call that continues a turn: skipped, with what came of the calls before it."""
    ts = fields.moment("startTime", naive_is_utc=True, received=context.received)
    came_back = tool_scores(messages, fields.get("response"), NAME, ts, context)
    return merged([skip(f"continues a turn: {why}"), came_back])


def _messages(fields: Fields) -> Any:
    """The messages, of the row or of the request that it keeps."""
    value = fields.get("messages")
    if value in (None, {}, "{}", ""):
        value = metadata_of(fields, "proxy_server_request").value or value
    if value in ({}, "{}"):
        raise fields.bad("messages", f"are empty: {_STORE}")
    if value is None:
        raise fields.bad("messages", "is missing")
    messages = spoken_in(value)
    if isinstance(messages, str) and _REDACTED in messages:
        raise fields.bad("messages", "was redacted: set `turn_off_message_logging` to false")
    if _all_redacted(messages):
        raise fields.bad("messages", "was redacted: set `turn_off_message_logging` to false")
    return messages


def _all_redacted(messages: Any) -> bool:
    listed = messages if isinstance(messages, (list, tuple)) else ()
    contents = [item.get("content") for item in listed if isinstance(item, Mapping)]
    return bool(contents) and all(content == _REDACTED for content in contents)


def _logged(fields: Fields, metadata: Fields, context: Context) -> Logged:
    response = metadata_of(fields, "response")
    parameters = metadata_of(fields, "model_parameters")
    request = metadata_of(fields, "proxy_server_request")
    trace = identity_in([fields], ["trace_id"])
    return Logged(
        id=fields.identity("id", "request_id"),
        ts=fields.moment("startTime", naive_is_utc=True, received=context.received),
        adapter=fields.maybe_text("model"),
        latency_ms=latency(fields, "startTime", "endTime"),
        slices=Fields(NAME, {"metadata": metadata.value}).slices("metadata"),
        aliases=[
            identity_in([fields], ["request_id"]),
            identity_in([response], ["id"]),
            identity_in([fields], ["litellm_call_id"]),
            trace,
            *call_ids(response.value),
        ],
        session=identity_in([fields, metadata], ["session_id", "litellm_session_id"]),
        rater=identity_in(
            [fields, request, metadata],
            ["end_user", "user_api_key_end_user_id", "user_id", "user", "user_api_key_user_id"],
        ),
        tools=_tools((parameters, request)),
        trace=trace,
    )


def _tools(holders: tuple[Fields, ...]) -> str:
    for holder in holders:
        try:
            if named := tools_id(holder.get("tools"), NAME, holder.path("tools")):
                return named
        except BadEvent:
            continue  # costs the fingerprint alone
    return ""
