"""Langfuse: observations as predictions, scores as seen, dataset items as samples.

Reads the API's camel case and the snake case of blob exports, where input and output are JSON
text. An answer is named `traceId:observationId`; a score of a whole trace names it by the trace.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flywheel.formats.calls import Asked, asked, only_results, spoken_in
from flywheel.formats.chat_log import (
    AGENT,
    INFERENCE,
    Logged,
    answered,
    identity_in,
    latency,
    metadata_of,
    tools_id,
)
from flywheel.formats.native import labelled
from flywheel.formats.reading import BadEvent, Context, Fields, Parsed, merged, skip
from flywheel.formats.replies import NO_CALL, Rule, Saying, read_reply
from flywheel.formats.tool_results import call_ids, tool_scores
from flywheel.formats.verdicts import Given, correction_score, right_calls, score, scored
from flywheel.records import RaterKind, Score, ScoreKind

NAME = "langfuse"

_RATERS: Mapping[str, RaterKind] = {"ANNOTATION": "expert", "API": "user", "EVAL": "model"}
_KINDS: Mapping[str, ScoreKind] = {
    "NUMERIC": "number",
    "BOOLEAN": "flag",
    "CATEGORICAL": "label",
    "TEXT": "text",
}
_TIMES = ("timestamp", "updatedAt", "createdAt")
_TYPES = ("GENERATION", "AGENT", "CHAIN", "SPAN", "EVENT", "TOOL", "RETRIEVER", "EMBEDDING",
          "EVALUATOR", "GUARDRAIL")  # fmt: skip
_ROUTING = ("AGENT", "CHAIN", "SPAN")  # may hold the call of a model that is not logged itself
_OF_BLOBS = {"data_type", "string_value", "observation_id", "start_time", "expected_output"}
_SNAKE = re.compile(r"_([a-z])")
_TRUE, _FALSE = ("true", "1"), ("false", "0")


def recognises(event: Mapping[str, Any]) -> bool:
    """Whether it is an observation, a score, a trace or a dataset item."""
    if "trace_id" in event and "traceId" not in event and not _OF_BLOBS & event.keys():
        return False
    event = _camel(event)
    if "expectedOutput" in event or _is_trace(event):
        return True
    if "traceId" not in event and "sessionId" not in event:
        return False
    return _is_score(event) or ("traceId" in event and {"type", "startTime"} <= event.keys())


def read(event: Mapping[str, Any], context: Context) -> Parsed:
    """Return the records of an observation, score or dataset item.

    A dataset item is a seed unless `split` says otherwise. Of observations other than
    generations, those are read that have a call.

    Raises:
        BadEvent: `input`, `output`, `traceId`, `value` or a time is missing, or the output says
            nothing.
    """
    fields = Fields(NAME, _camel(event))
    if "expectedOutput" in fields.value:
        return _item(fields, context)
    if _is_trace(fields.value):
        return skip("is a trace, which is read by its observations")
    if _is_score(fields.value):
        return _scored(fields, context)
    kind = fields.get("type")
    if kind == "GENERATION":
        return _generation(fields, context)
    named = kind if kind in _TYPES else "of another type"
    if kind not in _ROUTING:
        return skip(f"is no answer of a model ({named})")
    try:
        parsed = _observation(fields, context, AGENT if kind == "AGENT" else 0)
    except BadEvent:
        parsed = Parsed()
    called = [made for made in parsed.predictions if made.intent != NO_CALL.intent]
    return (
        parsed if called or parsed.skipped else skip(f"is an observation without a call ({named})")
    )


def _camel(event: Mapping[str, Any]) -> dict[str, Any]:
    """The event with the API's names of fields."""
    named = {_SNAKE.sub(lambda m: m.group(1).upper(), str(key)): event[key] for key in event}
    return {**named, **{str(key): value for key, value in event.items()}}


def _is_trace(event: Mapping[str, Any]) -> bool:
    return "traceId" not in event and {"bookmarked", "input", "output", "timestamp"} <= event.keys()


def _is_score(event: Mapping[str, Any]) -> bool:
    if {"metricName", "eventName", "spanId"} & event.keys():
        return False
    valued = "value" in event or "stringValue" in event
    return "observationId" in event or (valued and "name" in event)


def _generation(fields: Fields, context: Context) -> Parsed:
    if fields.get("level") == "ERROR" and fields.get("output") in (None, "", {}, []):
        return skip("is a generation that failed")
    return _observation(fields, context, INFERENCE)


def _observation(fields: Fields, context: Context, precedence: int) -> Parsed:
    value = spoken_in(fields.need("input"))
    if not isinstance(value, Mapping) and only_results(value, fields, "input"):
        return _continuing("it brings a tool's result", value, fields, context)
    said = _asked(fields, context.context_turns)
    if said.continues:
        return _continuing(said.continues, value, fields, context)
    rule = Rule(format=NAME, known=context.known)
    saying = read_reply(fields.need("output"), "output", rule)
    trace, identity = fields.identity("traceId"), fields.identity("id")
    metadata, given = metadata_of(fields), metadata_of(fields, "input")
    output = metadata_of(fields, "output")
    logged = Logged(
        id=f"{trace}:{identity}",
        ts=_started(fields, context),
        adapter=fields.maybe_text("model", "providedModelName", "internalModelId"),
        latency_ms=latency(fields, "startTime", "endTime"),
        slices=metadata_slices(metadata),
        aliases=[identity, trace, identity_in([output], ["id"]), *call_ids(output.value)],
        session=identity_in([fields, metadata], ["sessionId", "session_id"]),
        rater=identity_in([fields, metadata], ["userId", "user_id"]),
        tools=tools_id(given.get("tools"), NAME, "input.tools"),
        trace=trace,
        precedence=precedence,
    )
    return answered(said, saying, logged)


def _continuing(why: str, messages: Any, fields: Fields, context: Context) -> Parsed:
    """A generation that continues a turn: skipped, with what came of the calls before it."""
    ts = _started(fields, context)
    came_back = tool_scores(messages, fields.get("output"), NAME, ts, context)
    return merged([skip(f"continues a turn: {why}"), came_back])


def _started(fields: Fields, context: Context) -> datetime:
    return fields.moment("startTime", naive_is_utc=True, received=context.received)


def metadata_slices(metadata: Fields) -> dict[str, str]:
    """Return the slices of free metadata, which may have been JSON text."""
    return Fields(NAME, {"metadata": metadata.value}).slices("metadata")


def _scored(fields: Fields, context: Context) -> Parsed:
    """A score of an observation or a trace; one of a session or a run names no answer."""
    if fields.get("traceId") is None and fields.get("observationId") is None:
        return skip("is a score of a whole session or run")
    trace = fields.maybe_identity("traceId")
    observation = fields.maybe_identity("observationId")
    source = fields.choice("source", tuple(_RATERS), "API")
    given = Given(
        id=fields.maybe_identity("id") or None,
        prediction_id=":".join(part for part in (trace, observation) if part),
        ts=fields.moment_or(context.received, *_TIMES),
        rater=fields.maybe_identity("authorUserId", "userId"),
        rater_kind=_RATERS[source],
        person=source == "ANNOTATION",
    )
    return scored(_score(fields, given), context)


def _score(fields: Fields, given: Given) -> Score:
    """A score as its data type says; the value of a text or a category is only an index."""
    name = fields.text("name")
    kind = fields.maybe_text("dataType").upper()
    text = fields.get("stringValue")
    if not kind and isinstance(text, str) and text.casefold() not in ("", "true", "false"):
        kind = "TEXT"  # `value` is then always 0, or the index of a category
    if kind == "CORRECTION":
        right = fields.need("stringValue", "value")
        if not isinstance(right, str) and not right:
            raise fields.bad("stringValue", "is empty: name the right call, or none")
        calls = right_calls(right, NAME, "stringValue", names=True)
        return correction_score(given, NAME, name, calls)
    if kind in ("TEXT", "CATEGORICAL") or (not kind and isinstance(fields.get("value"), str)):
        label = fields.text("stringValue") if text is not None else fields.text("value")
        return score(given, NAME, name, None, label, kind=_KINDS[kind or "CATEGORICAL"])
    value = _flag(fields, text) if kind == "BOOLEAN" else fields.need("value")
    if not isinstance(value, (bool, int, float)):
        raise fields.bad("value", "is not a number")
    return score(given, NAME, name, value, kind=_KINDS.get(kind))


def _flag(fields: Fields, text: Any) -> bool:
    """A boolean score, which has 1 or 0 as its value and its word beside it."""
    value = text if fields.get("value") is None else fields.get("value")
    word = str(value).casefold().removesuffix(".0")
    if value is None:
        raise fields.bad("value", "is missing")
    if word not in (*_TRUE, *_FALSE):
        raise fields.bad("value", "is neither true nor false")
    return word in _TRUE


def _item(fields: Fields, context: Context) -> Parsed:
    if fields.get("status") == "ARCHIVED":
        return skip("is an archived item")
    said = _asked(fields, context.context_turns)
    rule = Rule(format=NAME, known=context.known, strict=True)
    right = read_reply(fields.need("expectedOutput"), "expectedOutput", rule)
    call = _one_call(right, fields)
    sample = labelled(fields, said.text, call.intent, call.arguments, context.known, "seed")
    return Parsed(samples=(sample,))


def _one_call(saying: Saying, fields: Fields) -> Any:
    if len(saying.calls) > 1:
        raise fields.bad("expectedOutput", "has several calls, and a sample has one")
    if saying.malformed:
        raise fields.bad("expectedOutput", "has arguments that are not a JSON object")
    return saying.calls[0] if saying.calls else NO_CALL


def _asked(fields: Fields, context_turns: int) -> Asked:
    """What the person said: a text, messages, or an object that holds one of them."""
    value = spoken_in(fields.need("input"))
    if isinstance(value, Mapping) and not {"role", "content", "parts"} & value.keys():
        raise fields.bad("input", "has no text: none of messages, text, query, question is in it")
    if isinstance(value, str) and not value.strip():
        raise fields.bad("input", "has no text")
    return asked(value, fields, "input", context_turns)
