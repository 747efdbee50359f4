"""OpenTelemetry's GenAI conventions: inference events or spans, calls of tools, evaluation results,
and the OTLP JSON envelopes that carry them.

Messages are opt-in there: a span without them is skipped, and says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flywheel.formats import openinference, otlp
from flywheel.formats.otel_messages import INPUT, OUTPUT, messages_of
from flywheel.formats.reading import BadEvent, Context, Fields, Parsed, RejectedLine, merged, skip
from flywheel.formats.trace_answers import AnswerPlace, answer_of, call_alias
from flywheel.formats.verdicts import Given, score, scored
from flywheel.records import RaterKind
from flywheel.score_rules import TOOL_ERROR

NAME = "otel"

_PRECEDENCE = {
    "chat": 30,
    "text_completion": 20,
    "generate_content": 30,
    "completion": 20,
    "invoke_agent": 10,
    "invoke_workflow": 0,
}
_AGENTS = ("invoke_agent", "invoke_workflow")
_TIMES = ("timestamp", "timeUnixNano", "time_unix_nano", "startTimeUnixNano", "start_time",
          "startTime", "observedTimeUnixNano", "observed_timestamp")  # fmt: skip
_TARGET = ("gen_ai.response.id", "spanId")
_PREFIXES = ("gen_ai.", "ai.prompt.messages", "ai.response.")
_OF_USERS = ("feedback", "rating", "review", "vote", "report")  # given, not estimated
_NO_MESSAGES = (
    "no messages were captured: the instrumentation leaves them out until capturing content is "
    "turned on in it"
)


def recognises(event: Mapping[str, Any]) -> bool:
    """Whether it is an OTLP envelope, a record of one, or speaks by the GenAI conventions."""
    if otlp.is_envelope(event) or otlp.RECORD in event:
        return True
    return _by_conventions(event)


def is_envelope(event: Mapping[str, Any]) -> bool:
    """Whether it holds spans or log records, each a record of its own."""
    return otlp.is_envelope(event)


def _by_conventions(event: Mapping[str, Any]) -> bool:
    keys = (*event, *otlp.attributes(event))
    return any(str(key).startswith(_PREFIXES) for key in keys) or (
        otlp.is_message_event(event) and "attributes" in event
    )


def concerns(record: Mapping[str, Any]) -> bool:
    """Whether a span or log record of an envelope speaks of GenAI."""
    return _by_conventions(record) or openinference.recognises(record)


def unfolded(envelope: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the records of an envelope, each of which `read` takes by itself.

    Raises:
        BadEvent: the envelope holds no list.
    """
    return otlp.unfolded(envelope)


def read(event: Mapping[str, Any], context: Context) -> Parsed:
    """Return inferences as predictions, and evaluation results and failed tools as scores.

    In an envelope, what has nothing to do with GenAI is skipped, and a bad record is in
    `rejected`, its line 0.

    Raises:
        BadEvent: one side of the messages, an id or a time is missing.
    """
    if not otlp.is_envelope(event):
        own = () if otlp.RECORD in event else otlp.evaluations(event)
        return merged([_one(event, context), *(_kept(each, context) for each in own)])
    parts = [_kept(record, context) for record in unfolded(event)]
    return merged(parts) if parts else skip("is an empty envelope")


def _kept(record: Mapping[str, Any], context: Context) -> Parsed:
    """What one record of an envelope says; a bad one spoils no other."""
    try:
        return _one(record, context)
    except BadEvent as error:
        raw = json.dumps(record, ensure_ascii=False, default=str)
        line = RejectedLine(line=0, raw=raw, field=error.field, why=error.why, format=NAME)
        return Parsed(rejected=(line,))


def _one(event: Mapping[str, Any], context: Context) -> Parsed:
    if not concerns(event):
        return skip("does not speak of GenAI")
    if openinference.recognises(event):
        return openinference.read(event, context)
    attributes = {**otlp.attributes(event)}
    body = otlp.any_value(event.get("body"))
    if isinstance(body, Mapping):
        attributes = {**body, **attributes}
    fields = Fields(NAME, {**event, **attributes})
    if fields.get("gen_ai.evaluation.name") is not None:
        return _evaluation(event, fields, context)
    operation = fields.maybe_text("gen_ai.operation.name", "llm.request.type", default="chat")
    if operation == "execute_tool":
        return _tool(event, fields, context)
    if operation not in _PRECEDENCE:
        return skip("is no answer of a model")
    return _inference(event, fields, operation, context)


def _inference(
    event: Mapping[str, Any], fields: Fields, operation: str, context: Context
) -> Parsed:
    messages = messages_of(event, fields.value)
    if messages.given is None and messages.answered is None:
        if otlp.is_message_event(event):
            return skip("is one message of an exchange: its choice in the same envelope tells it")
        return skip(_NO_MESSAGES)
    if fields.get("error.type") is not None and not messages.answered:
        return skip("failed: nothing was answered")
    for side, name in ((messages.given, INPUT), (messages.answered, OUTPUT)):
        if side is None:
            raise fields.bad(name, "is missing")
    span, trace = otlp.span_id(event), otlp.trace_id(event)
    response = fields.maybe_text("gen_ai.response.id")
    if not response and not span:
        raise fields.bad("gen_ai.response.id", "is missing")
    above = otlp.ancestors(event)
    place = AnswerPlace(
        id=response or span,
        ts=_time(fields, context.received),
        trace=trace,
        aliases=(span, trace, *above),
        precedence=_PRECEDENCE[operation] + len(above),
        adapter=fields.maybe_text("gen_ai.response.model", "gen_ai.request.model"),
        latency_ms=_latency(fields),
        slices=fields.slices("metadata"),
        session=_whose(fields, "gen_ai.conversation.id", "session.id"),
        rater=_whose(fields, "user.id", "enduser.id", "enduser.pseudo.id"),
        tools=fields.get("gen_ai.tool.definitions", "gen_ai.request.tools")
        or otlp.nested(fields.value, "llm.request.functions"),
        tools_called=event.get(otlp.TOOLS_CALLED) is True,
        finish_reasons=fields.get("gen_ai.response.finish_reasons"),
        is_agent=operation in _AGENTS,
    )
    return answer_of(place, messages.given, messages.answered, fields, (INPUT, OUTPUT), context)


def _evaluation(event: Mapping[str, Any], fields: Fields, context: Context) -> Parsed:
    """The result of an evaluation; it names a response, or else its span, or its trace."""
    name = fields.text("gen_ai.evaluation.name")
    label = fields.get("gen_ai.evaluation.score.label")
    value = fields.get("gen_ai.evaluation.score.value")
    target = fields.maybe_text("gen_ai.response.id") or otlp.span_id(event) or otlp.trace_id(event)
    if not target:
        raise fields.bad("gen_ai.response.id", "is missing")
    kind = _rater_kind(name)
    given = Given(
        id=fields.maybe_text("event.id") or None,
        prediction_id=target,
        ts=_time(fields, context.received),
        rater=_whose(fields, "user.id", "enduser.id"),
        rater_kind=kind,
        person=kind == "user",
    )
    if label is None and value is None:
        said = fields.maybe_text("gen_ai.evaluation.explanation")
        if not said:
            raise fields.bad("gen_ai.evaluation.score.value", "is missing")
        return scored(score(given, NAME, name, label=said, kind="text"), context)
    word = "" if label is None else str(label)
    return scored(score(given, NAME, name, value, word), context)


def _tool(event: Mapping[str, Any], fields: Fields, context: Context) -> Parsed:
    """A tool's call that failed, as a score on the answer that called it; others are skipped."""
    if fields.get("error.type") is None and not otlp.failed(event):
        return skip("is a tool's call that did not fail")
    call, trace = fields.maybe_text("gen_ai.tool.call.id"), otlp.trace_id(event)
    target = call_alias(trace, call) if call and trace else call or trace
    target = target or otlp.parent_id(event)
    if not target:
        raise fields.bad("gen_ai.tool.call.id", "is missing")
    span = otlp.span_id(event)
    given = Given(
        id=f"{TOOL_ERROR}:{span}" if span else None,
        prediction_id=target,
        ts=_time(fields, context.received),
        rater=fields.maybe_text("gen_ai.tool.name"),
        rater_kind="rule",
    )
    return scored(score(given, NAME, TOOL_ERROR, True), context)


def _rater_kind(evaluation: str) -> RaterKind:
    """An evaluation is a model's unless its name says that a person gave it."""
    named = evaluation.casefold()
    by_a_user = "user" in named and any(word in named for word in _OF_USERS)
    return "user" if by_a_user or "human" in named or "thumb" in named else "model"


def _whose(fields: Fields, *names: str) -> str:
    """The first of these that is a text or a number; whose an answer is may be missing."""
    for name in names:
        value = fields.get(name)
        if isinstance(value, (str, int)) and not isinstance(value, bool) and str(value).strip():
            return str(value)
    return ""


def _time(fields: Fields, received: datetime | None) -> datetime:
    if fields.get(*_TIMES) in (None, 0, "0") and received is not None:
        return received
    return fields.moment(*_TIMES, naive_is_utc=True, received=received)


def _latency(fields: Fields) -> float | None:
    start, end = fields.get("startTimeUnixNano"), fields.get("endTimeUnixNano")
    try:
        return (int(end) - int(start)) / 1e6 if start and end else None
    except (TypeError, ValueError, OverflowError):
        return None
