"""One logged request with its answer, whatever protocol it is of, as a prediction.

A request that continues a turn is skipped: its answer is not to what the person said, but to what
a tool returned. The ids of response, request, span and trace all name the answer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from flywheel.content import content_id
from flywheel.formats.calls import Asked, asked, only_results, predictions, spoken_in
from flywheel.formats.reading import (
    BadEvent,
    Context,
    Fields,
    Parsed,
    from_json,
    merged,
    plain,
    skip,
)
from flywheel.formats.replies import Rule, Saying, read_reply
from flywheel.formats.tool_results import call_ids, tool_scores
from flywheel.records import NONE, Prediction

CALLED = 100  # precedence of a record that has the call
INFERENCE = 30  # … of an answer of a model
AGENT = 10  # … of an agent's whole run

_ANSWERS = {"choices", "candidates", "content", "output", "message"}
_TIMES = ("timestamp", "ts", "created_at", "createdAt", "time")
_IDS = ("id", "request_id", "requestId", "inference_id", "span_id", "trace_id", "traceId")
_TRACES = ("trace_id", "traceId")
SESSIONS = ("session_id", "sessionId", "conversation_id", "conversationId", "conversation",
            "thread_id", "threadId", "previous_response_id")  # fmt: skip
RATERS = ("user_id", "userId", "end_user", "user", "safety_identifier")
"""Fields of a request, or of its metadata, that say whose conversation it is, and who asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """What a record has beside question and answer."""

    id: str
    ts: datetime
    adapter: str = ""
    latency_ms: float | None = None
    slices: Mapping[str, str]
    aliases: Sequence[str] = ()  # empty and repeated ones are dropped
    session: str = ""
    rater: str = ""
    tools: str = ""
    trace: str = ""  # of which several records may be of one exchange
    precedence: int = INFERENCE  # without what a call adds


def read_pair(event: Mapping[str, Any], context: Context, format: str, asked_in: str) -> Parsed:
    """Return a record {request, response} as one prediction, named by `response.id`.

    One without an id anywhere is named by its content.

    Args:
        event: the record.
        context: how it is read.
        format: for errors.
        asked_in: the field of the request that holds the messages.

    Raises:
        BadEvent: the messages, the answer or a time is missing, or the answer says nothing.
    """
    fields = Fields(format, event)
    request, response = fields.inner("request"), fields.inner("response")
    if response.get("error") and not _ANSWERS & response.value.keys():
        return skip("is a request that failed")
    messages = spoken_in(request.need(asked_in))
    logged = _logged(fields, request, response, context)
    came_back = tool_scores(
        messages, response.value, format, logged.ts, context, logged.rater or logged.session
    )
    if only_results(messages, request, asked_in):
        return merged([skip("continues a turn: it brings a tool's result"), came_back])
    said = asked(messages, request, asked_in, context.context_turns)
    if said.continues:
        return merged([skip(f"continues a turn: {said.continues}"), came_back])
    saying = read_reply(response.value, "response", Rule(format=format, known=context.known))
    logged = dataclasses.replace(logged, aliases=[*logged.aliases, *call_ids(response.value)])
    return merged([answered(said, saying, logged), came_back])


def answered(said: Asked, saying: Saying, logged: Logged) -> Parsed:
    """Return question and answer as one prediction."""
    aliases = [name for name in logged.aliases if name and name != logged.id]
    made = Prediction(
        id=logged.id,
        ts=logged.ts,
        text=said.text,
        intent=NONE,
        adapter=logged.adapter,
        latency_ms=logged.latency_ms,
        slices=logged.slices,
        aliases=tuple(dict.fromkeys(aliases)),
        session=logged.session,
        rater=logged.rater,
        tools=logged.tools,
    )
    if logged.trace:
        made = replace(
            made,
            exchange=content_id("x", [logged.trace, said.text]),
            precedence=logged.precedence + (CALLED if saying.calls else 0),
        )
    return Parsed(predictions=predictions(made, saying.calls, saying.malformed))


def tools_id(tools: Any, format: str, path: str) -> str:
    """Return the content id of the tools that were offered; "" without any."""
    if not isinstance(tools, (list, tuple)) or not tools:
        return ""
    return content_id("t", plain(tools, format, path))


def latency(fields: Fields, start: str, end: str) -> float | None:
    """Return the milliseconds between two times; None where one is missing or they are reversed."""
    if fields.get(start) is None or fields.get(end) in (None, ""):
        return None
    try:
        length = fields.moment(end) - fields.moment(start)
    except BadEvent:
        return None  # costs the latency alone
    milliseconds = length.total_seconds() * 1e3
    return milliseconds if milliseconds >= 0 else None


def identity_in(holders: Sequence[Fields], names: Sequence[str]) -> str:
    """Return the first of these fields, or its `id`, in the first of these objects that has it."""
    for holder in holders:
        for name in names:
            value = holder.get(name)
            value = value.get("id") if isinstance(value, Mapping) and "id" in value else value
            if isinstance(value, (str, int)) and not isinstance(value, bool) and str(value).strip():
                return Fields(holder.format, {name: value}, holder.path("")[:-1]).identity(name)
    return ""


def metadata_of(fields: Fields, name: str = "metadata") -> Fields:
    """Return free metadata, an object or JSON text of one; without fields where it is neither."""
    value = fields.get(name)
    if isinstance(value, str) and value.strip()[:1] == "{":
        try:
            value = from_json(value, fields.format, fields.path(name))
        except BadEvent:
            value = None
    return Fields(fields.format, value if isinstance(value, Mapping) else {}, fields.path(name))


def _logged(fields: Fields, request: Fields, response: Fields, context: Context) -> Logged:
    timed = {"created": response.get("created", "created_at"), **_present(fields.value)}
    metadata = [metadata_of(fields), metadata_of(request)]
    named = response.maybe_identity("id") or identity_in([fields], _IDS)
    workload = fields.get("workload_id")
    return Logged(
        id=named or content_id("p", plain(fields.value, fields.format, "")),
        ts=Fields(fields.format, timed).moment(
            *_TIMES, "created", zone=context.zone, received=context.received
        ),
        adapter=response.maybe_text("model", "modelVersion") or request.maybe_text("model"),
        latency_ms=fields.duration("latency_ms"),
        slices={
            **fields.slices("metadata"),
            **({"workload": fields.identity("workload_id")} if workload not in (None, "") else {}),
        },
        aliases=[identity_in([holder], [name]) for holder in (fields, response) for name in _IDS],
        session=identity_in([fields, request, response, *metadata], SESSIONS),
        rater=identity_in([fields, request, *metadata], RATERS),
        tools=tools_id(request.get("tools", "functions"), fields.format, request.path("tools")),
        trace=identity_in([fields], _TRACES),
    )


def _present(event: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in event.items() if value is not None}
