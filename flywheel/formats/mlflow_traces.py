"""MLflow traces as predictions: what was asked, and what was answered.

A trace is one answer, named by the trace; its spans' ids name it too. What counts is the innermost
span that holds an exchange with a call; without one, the request and response of the trace itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from flywheel.formats.calls import Exchange, asked, predictions
from flywheel.formats.reading import BadEvent, Context, Fields, Parsed, skip
from flywheel.formats.replies import Rule, read_reply
from flywheel.records import NONE, Prediction

NAME = "mlflow"

_PRECEDENCE = {"CHAT_MODEL": 30, "LLM": 30, "AGENT": 10}
_TOP = ("trace_id", "request_id", "client_request_id")
_ASKED = ("messages", "input", "query", "question", "text", "message", "prompt", "inputs")
_TIMES = ("request_time", "timestamp_ms", "timestamp")


class _Found(NamedTuple):
    """An exchange in a trace, and how far it is preferred."""

    precedence: int
    said: Exchange


def recognises(event: Mapping[str, Any]) -> bool:
    """Whether it is a trace: `info` and `data`, or a row of a table of traces."""
    info = event.get("info")
    if isinstance(info, Mapping) and any(name in info for name in _TOP):
        return "data" in event or "spans" in event
    return {"trace_id", "request", "response"} <= event.keys() and "spans" in event


def read(event: Mapping[str, Any], context: Context) -> Parsed:
    """Return a trace as one prediction, without its assessments.

    Raises:
        BadEvent: the trace has no id or time, or nothing of it was asked or answered.
    """
    info, data = _parts(event)
    found = [*_in_spans(data, context), *_whole(data, context)]
    if not found:
        if data.get("spans") or data.get("request") is not None:
            return skip("continues a turn, or holds no messages")
        raise data.bad("spans", "is missing")
    best = max(found, key=lambda each: each.precedence)
    metadata = (
        info.maybe_inner("trace_metadata").value or info.maybe_inner("request_metadata").value
    )
    whose = Fields(NAME, metadata, "trace_metadata")
    answer = Prediction(
        id=info.text("trace_id", "request_id"),
        ts=info.moment_or(context.received, *_TIMES),
        adapter=_model(data),
        latency_ms=info.duration("execution_time_ms", "execution_duration_ms"),
        slices=info.slices("tags"),
        aliases=tuple(dict.fromkeys(_aliases(info, data))),
        session=whose.maybe_text("mlflow.trace.session"),
        rater=whose.maybe_text("mlflow.trace.user"),
        precedence=best.precedence,
        text=best.said.text,
        intent=NONE,
    )
    return Parsed(predictions=predictions(answer, *best.said[1:]))


def assessments(event: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the assessments that a trace carries, as objects."""
    info, _ = _parts(event)
    listed = info.get("assessments") or event.get("assessments") or ()
    listed = _decoded(listed)
    return [each for each in listed if isinstance(each, Mapping)] if _is_list(listed) else []


def _parts(event: Mapping[str, Any]) -> tuple[Fields, Fields]:
    """What is said of the trace, and what it holds; a row of a table has both in one."""
    whole = Fields(NAME, event)
    if not isinstance(event.get("info"), Mapping):
        return whole, whole
    return whole.inner("info"), whole.inner("data") if "data" in event else whole


def _in_spans(data: Fields, context: Context) -> Iterator[_Found]:
    """Exchanges of spans; what cannot be read as one is passed over."""
    spans = [span for span in _spans(data) if isinstance(span, Mapping)]
    parents = {_id(span): _parent(span) for span in spans}
    for number, span in enumerate(spans):
        attributes = {name: _decoded(value) for name, value in _attributes(span).items()}
        inner = Fields(NAME, {**span, **attributes}, f"spans[{number}]")
        request = inner.get("mlflow.spanInputs", "inputs")
        answered = inner.get("mlflow.spanOutputs", "outputs")
        kind = inner.get("mlflow.spanType", "span_type", "type")
        said = _exchange(request, answered, inner, context)
        if said is not None and kind not in ("TOOL", "RETRIEVER", "EMBEDDING", "PARSER"):
            depth = min(9, _depth(_id(span), parents))
            yield _Found(_PRECEDENCE.get(str(kind), 0) + depth + 100 * bool(said.calls), said)


def _whole(data: Fields, context: Context) -> Iterator[_Found]:
    request, answered = (_decoded(data.get(name)) for name in ("request", "response"))
    said = _exchange(request, answered, data, context)
    if said is not None:
        yield _Found(100 * bool(said.calls), said)


def _exchange(request: Any, answered: Any, fields: Fields, context: Context) -> Exchange | None:
    """What was asked and answered; None where that is not an exchange with a person."""
    messages = _messages(request)
    if messages is None or answered is None:
        return None
    rule = Rule(format=NAME, known=context.known)
    try:
        said = asked(messages, fields, "request", context.context_turns)
        reply = read_reply(answered, "response", rule)
    except BadEvent:
        return None
    return None if said.continues else Exchange(said.text, reply.calls, reply.malformed)


def _messages(request: Any) -> Any:
    """Messages, or the one text, in what a function or a model was given; None without any."""
    if not isinstance(request, Mapping):
        return request
    found = next((request[name] for name in _ASKED if request.get(name)), None)
    if found is None and len(request) == 1:
        found = next(iter(request.values()))
    return _messages(found) if isinstance(found, Mapping) else found


def _spans(data: Fields) -> list[Any]:
    spans = _decoded(data.get("spans"))
    return list(spans) if _is_list(spans) else []


def _attributes(span: Mapping[str, Any]) -> Mapping[str, Any]:
    attributes = _decoded(span.get("attributes"))
    return attributes if isinstance(attributes, Mapping) else {}


def _model(data: Fields) -> str:
    """The model that a span of the trace names."""
    for span in _spans(data):
        given = _decoded(_attributes(span).get("mlflow.spanInputs")) if _is_object(span) else None
        if isinstance(given, Mapping) and isinstance(given.get("model"), str) and given["model"]:
            return str(given["model"])
    return ""


def _aliases(info: Fields, data: Fields) -> Iterator[str]:
    """Ids of the spans, and that which the caller gave the request."""
    given = info.get("client_request_id")
    if isinstance(given, str) and given:
        yield given
    for span in _spans(data):
        if _is_object(span) and (name := _id(span)):
            yield name


def _id(span: Mapping[str, Any]) -> str:
    context = span.get("context")
    inner = context.get("span_id") if isinstance(context, Mapping) else None
    name = span.get("span_id") or inner
    return name if isinstance(name, str) else ""


def _parent(span: Mapping[str, Any]) -> str:
    name = span.get("parent_span_id") or span.get("parent_id")
    return name if isinstance(name, str) else ""


def _depth(name: str, parents: Mapping[str, str]) -> int:
    depth = 0
    while (name := parents.get(name, "")) and name in parents and depth < 9:
        depth += 1
    return depth


def _decoded(value: Any) -> Any:
    """JSON text as what it says; any other text is itself."""
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return value


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _is_object(value: Any) -> bool:
    return isinstance(value, Mapping)
