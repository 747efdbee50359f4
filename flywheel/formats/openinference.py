"""OpenInference spans, as Phoenix, Arize and their instrumentations write them.

The attributes may be flat (a dotted key each), nested, or columns of a table, whose names then
begin with `attributes`. A span is named by its id, which annotations give.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flywheel.formats import otlp
from flywheel.formats.otlp import decoded, nested
from flywheel.formats.reading import Context, Fields, Parsed, skip
from flywheel.formats.trace_answers import AnswerPlace, answer_of, call_alias
from flywheel.formats.verdicts import Given, score, scored
from flywheel.score_rules import TOOL_ERROR

NAME = "openinference"

_KIND = "openinference.span.kind"
_SIDES = ("llm.input_messages", "llm.output_messages")
_PRECEDENCE = {"LLM": 30, "AGENT": 10, "CHAIN": 0}
_TIMES = ("start_time", "startTimeUnixNano", "start_time_unix_nano", "startTime", "timestamp")
_ENDS = ("end_time", "endTimeUnixNano", "end_time_unix_nano", "endTime")
_PREFIXES = ("llm.", "openinference.", "input.", "output.", "session.", "user.")
_DEEPEST = 12  # levels of attributes


def recognises(event: Mapping[str, Any]) -> bool:
    """Whether it is a span with attributes of OpenInference."""
    given = event.get("attributes")
    keys = {str(key) for key in event if str(key).startswith("attributes.")}
    keys = {key.removeprefix("attributes.") for key in keys}
    if isinstance(given, Mapping):
        keys |= {str(key) for key in given}
        inner = given.get("openinference")
        if isinstance(inner, Mapping) and isinstance(inner.get("span"), Mapping):
            return True
    elif isinstance(given, (list, tuple)):
        keys |= {str(pair.get("key")) for pair in given if isinstance(pair, Mapping)}
    elif _KIND in event:
        keys |= {str(key) for key in event}
    if any(key.startswith("gen_ai.") and key.endswith(".messages") for key in keys):
        return False  # written in both conventions
    return _KIND in keys or any(key.startswith(_SIDES) for key in keys)


def read(event: Mapping[str, Any], context: Context) -> Parsed:
    """Return a model's or an agent's span as a prediction, a tool's that failed as a score.

    Raises:
        BadEvent: one side of the messages, the span's id or a time is missing.
    """
    attributes = _attributes(event)
    fields = Fields(NAME, {**event, **attributes})
    kind = str(attributes.get(_KIND) or event.get("span_kind") or "LLM").upper()
    if kind == "TOOL":
        return _tool(event, fields, context)
    if kind not in _PRECEDENCE:
        return skip("is no answer of a model")
    sides = [nested(attributes, name) for name in _SIDES]
    if kind == "LLM" and sides == [None, None]:
        sides = [decoded(_shown(attributes.get(name))) for name in ("input.value", "output.value")]
        sides[0] = sides[0]["messages"] if _has_messages(sides[0]) else sides[0]
    if sides == [None, None]:
        return skip("no messages were captured: the span hides them, or its kind has none")
    if otlp.failed(event) and sides[1] is None:
        return skip("failed: nothing was answered")
    for side, name in zip(sides, _SIDES, strict=True):
        if side is None:
            raise fields.bad(name, "is missing")
    given, answered = (_messages(side) for side in sides)
    return answer_of(_place(event, fields, kind, context), given, answered, fields, _SIDES, context)


def _place(event: Mapping[str, Any], fields: Fields, kind: str, context: Context) -> AnswerPlace:
    span, trace = otlp.span_id(event), otlp.trace_id(event)
    if not span:
        raise fields.bad("span_id", "is missing")
    above = otlp.ancestors(event)
    raw = decoded(fields.get("output.value"))
    response = raw.get("id") if isinstance(raw, Mapping) else None
    return AnswerPlace(
        id=span,
        ts=fields.moment_or(context.received, *_TIMES),
        trace=trace,
        aliases=(response if isinstance(response, str) else "", trace, *above),
        precedence=_PRECEDENCE[kind] + len(above),
        adapter=fields.maybe_text("llm.model_name"),
        latency_ms=_latency(fields),
        slices=Fields(NAME, {"metadata": decoded(fields.get("metadata"))}).slices("metadata"),
        session=_text(fields.get("session.id")),
        rater=_text(fields.get("user.id")),
        tools=_tools(fields.value),
        tools_called=event.get(otlp.TOOLS_CALLED) is True,
        is_agent=kind != "LLM",
    )


def _tool(event: Mapping[str, Any], fields: Fields, context: Context) -> Parsed:
    if not otlp.failed(event):
        return skip("is a tool's call that did not fail")
    call = _text(fields.get("tool_call.id", "tool.id"))
    trace, span = otlp.trace_id(event), otlp.span_id(event)
    target = call_alias(trace, call) if call and trace else call or trace or otlp.parent_id(event)
    if not target:
        raise fields.bad("trace_id", "is missing")
    given = Given(
        id=f"{TOOL_ERROR}:{span}" if span else None,
        prediction_id=target,
        ts=fields.moment_or(context.received, *_TIMES),
        rater=_text(fields.get("tool.name")),
        rater_kind="rule",
    )
    return scored(score(given, NAME, TOOL_ERROR, True), context)


def _attributes(event: Mapping[str, Any]) -> dict[str, Any]:
    """Every attribute by its dotted key, whether they came flat, nested or as columns."""
    found: dict[str, Any] = dict(_flattened(otlp.attributes(event), ""))
    for key, value in event.items():
        name = str(key)
        if name.startswith("attributes."):
            found.update(_flattened(value, name.removeprefix("attributes.")))
        elif "attributes" not in event and name.startswith(_PREFIXES):
            found.update(_flattened(value, name))
    return found


def _flattened(value: Any, path: str, depth: int = _DEEPEST) -> Iterator[tuple[str, Any]]:
    if depth and isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flattened(item, f"{path}.{key}" if path else str(key), depth - 1)
    elif depth and isinstance(value, (list, tuple)) and any(isinstance(v, Mapping) for v in value):
        for number, item in enumerate(value):
            yield from _flattened(item, f"{path}.{number}", depth - 1)
    else:
        yield path, value


def _messages(side: Any) -> Any:
    """Messages in the shape of the chat protocol; a text and a raw response as they are."""
    if not isinstance(side, list):
        return side
    return [_message(each) for each in side]


def _message(item: Any) -> Any:
    if not isinstance(item, Mapping):
        return item
    inner = item.get("message")
    message = dict(inner) if isinstance(inner, Mapping) else dict(item)
    contents = message.pop("contents", None)
    if isinstance(contents, list) and message.get("content") is None:
        message["content"] = [_content(each) for each in contents]
    if "function_call_name" in message:
        message["function_call"] = {
            "name": message["function_call_name"],
            "arguments": message.get("function_call_arguments_json"),
        }
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        message["tool_calls"] = [_call(each) for each in calls]
    return message


def _content(item: Any) -> Any:
    inner = item.get("message_content") if isinstance(item, Mapping) else None
    return inner if isinstance(inner, Mapping) else item


def _call(item: Any) -> Any:
    inner = item.get("tool_call") if isinstance(item, Mapping) else None
    return inner if isinstance(inner, Mapping) else item


def _tools(attributes: Mapping[str, Any]) -> list[Any]:
    """The JSON Schemas of the tools that were offered."""
    listed = nested(attributes, "llm.tools")
    if not isinstance(listed, list):
        return []
    tools = [each.get("tool") for each in listed if isinstance(each, Mapping)]
    return [decoded(tool.get("json_schema")) for tool in tools if isinstance(tool, Mapping)]


def _latency(fields: Fields) -> float | None:
    if fields.get(*_ENDS) is None or fields.get(*_TIMES) is None:
        return None
    start, end = fields.moment(*_TIMES, naive_is_utc=True), fields.moment(*_ENDS, naive_is_utc=True)
    return (end - start).total_seconds() * 1e3


def _shown(value: Any) -> Any:
    """A value, unless it was hidden by the instrumentation."""
    return None if value in ("__REDACTED__", "") else value


def _has_messages(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("messages"), list)


def _text(value: Any) -> str:
    """A text or a whole number; "" for anything else."""
    is_id = isinstance(value, (str, int)) and not isinstance(value, bool)
    return str(value) if is_id and str(value).strip() else ""
