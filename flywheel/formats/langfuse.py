"""Langfuse: generations as predictions, scores as feedback, dataset items as samples.

An answer is named `traceId:observationId`. A score of a whole trace names no single answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flywheel.formats.calls import (
    NO_CALL,
    Exchange,
    exchange,
    message_text,
    predictions,
)
from flywheel.formats.native import labelled
from flywheel.formats.reading import Context, Fields, Parsed, skip
from flywheel.formats.replies import Rule, Saying, read_reply
from flywheel.formats.verdicts import Given, correction, judged, right_calls, verdict
from flywheel.records import NONE, Intent, Prediction, RaterKind

NAME = "langfuse"

_RATERS: Mapping[str, RaterKind] = {"ANNOTATION": "expert", "API": "user", "EVAL": "model"}
_TIMES = ("timestamp", "updatedAt", "createdAt")
_SPOKEN = ("text", "query", "question", "input", "message", "prompt")


def recognises(event: Mapping[str, Any]) -> bool:
    """Whether it is an observation, a score, or a dataset item."""
    if "expectedOutput" in event:
        return True
    if "traceId" not in event:
        return False
    return _is_score(event) or {"type", "startTime"} <= event.keys()


def read(event: Mapping[str, Any], context: Context) -> Parsed:
    """Return the records of an observation, score or dataset item.

    A dataset item is a seed unless `split` says otherwise. Observations other than generations
    are skipped.

    Raises:
        BadEvent: `input`, `output`, `traceId`, `observationId`, `value` or a time is missing.
    """
    fields = Fields(NAME, event)
    if "expectedOutput" in event:
        return _item(fields, context)
    if _is_score(event):
        return _score(fields, context.received)
    if event.get("type") != "GENERATION":
        return skip("is no generation")
    return _generation(fields, context.context_turns, context.known)


def _is_score(event: Mapping[str, Any]) -> bool:
    return "observationId" in event or ("value" in event and "name" in event)


def _generation(fields: Fields, context_turns: int, known: Mapping[str, Intent] | None) -> Parsed:
    said = _said(fields, context_turns)
    reply = Saying(said.calls, said.malformed)
    if not said.calls:
        reply = read_reply(fields.need("output"), "output", Rule(format=NAME, known=known))
    started = fields.moment("startTime", naive_is_utc=True)
    latency = None
    if fields.get("endTime") is not None:
        latency = (fields.moment("endTime", naive_is_utc=True) - started).total_seconds() * 1e3
    answer = Prediction(
        id=f"{fields.text('traceId')}:{fields.text('id')}",
        ts=started,
        adapter=fields.maybe_text("model"),
        latency_ms=latency,
        slices=fields.slices("metadata"),
        text=said.text,
        intent=NONE,
    )
    return Parsed(predictions=predictions(answer, reply.calls, reply.malformed))


def _score(fields: Fields, received: datetime | None) -> Parsed:
    trace = fields.text("traceId")
    if fields.get("observationId") is None:
        raise fields.bad("observationId", "is missing: a whole trace names no single answer")
    answer = f"{trace}:{fields.text('observationId')}"
    given = Given(
        id=fields.maybe_text("id") or None,
        prediction_id=answer,
        ts=fields.moment_or(received, *_TIMES),
        rater=fields.maybe_text("authorUserId"),
        rater_kind=_RATERS[fields.choice("source", tuple(_RATERS), "API")],
    )
    kind = fields.maybe_text("dataType", default="NUMERIC")
    said = fields.get("stringValue", "value")
    content = [fields.get("name"), answer, said, fields.get(*_TIMES)]
    if kind == "CORRECTION":
        calls = right_calls(fields.need("stringValue", "value"), NAME, "stringValue", names=True)
        return Parsed(feedback=correction(calls, given, content, NAME))
    if kind == "CATEGORICAL":
        word = judged(fields.need("stringValue", "value"), NAME, "stringValue")
        return Parsed(feedback=verdict(word, given, content, NAME))
    return Parsed(
        feedback=verdict(judged(fields.need("value"), NAME, "value"), given, content, NAME)
    )


def _item(fields: Fields, context: Context) -> Parsed:
    said = _said(fields, context.context_turns)
    expected = fields.value.get("expectedOutput")
    calls = () if expected is None else right_calls(expected, NAME, "expectedOutput", names=True)
    return Parsed(
        samples=tuple(
            labelled(fields, said.text, call.intent, call.arguments, context.known, "seed")
            for call in calls or (NO_CALL,)
        )
    )


def _said(fields: Fields, context_turns: int) -> Exchange:
    """What the user said: a text, messages, or an object that holds one of them."""
    value = fields.need("input")
    if isinstance(value, Mapping) and "messages" in value:
        value = value["messages"]
    elif isinstance(value, Mapping):
        spoken = next((value[key] for key in _SPOKEN if isinstance(value.get(key), str)), None)
        value = spoken or message_text(value, NAME, "input")
    if isinstance(value, str) and not value.strip():
        raise fields.bad("input", "has no text")
    return exchange(value, (), fields, "input", context_turns)
