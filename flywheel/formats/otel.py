"""OpenTelemetry's GenAI conventions: inference events or spans, evaluation results, and the OTLP
JSON envelopes that carry them.

Messages are opt-in there: without `gen_ai.input.messages` there is nothing to judge.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from flywheel.formats.calls import exchange, predictions
from flywheel.formats.reading import (
    BadEvent,
    Context,
    Fields,
    Parsed,
    RejectedLine,
    from_json,
    merged,
    skip,
)
from flywheel.formats.verdicts import Given, judged, verdict, word_of
from flywheel.records import NONE, Prediction, RaterKind

NAME = "otel"

_ENVELOPES = {"resourceLogs": ("scopeLogs", "logRecords"), "resourceSpans": ("scopeSpans", "spans")}
_CHAT = ("chat", "text_completion", "generate_content", "invoke_agent")
_TIMES = ("timestamp", "timeUnixNano", "time_unix_nano", "startTimeUnixNano", "start_time",
          "observedTimeUnixNano")  # fmt: skip


def recognises(event: Mapping[str, Any]) -> bool:
    """Whether it is an OTLP envelope, or has an attribute of the GenAI conventions."""
    if _ENVELOPES.keys() & event.keys():
        return True
    return any(str(key).startswith("gen_ai.") for key in (*event, *_attributes(event)))


def read(event: Mapping[str, Any], context: Context) -> Parsed:
    """Return inferences as predictions and evaluation results as feedback.

    In an envelope, what has nothing to do with GenAI is skipped, and a bad record is in
    `rejected`, its line 0.

    Raises:
        BadEvent: `gen_ai.input.messages`, `gen_ai.output.messages`, an id or a time is missing.
    """
    if not _ENVELOPES.keys() & event.keys():
        return _one(event, context)
    parts = [_kept(record, context) for record in _unfolded(event)]
    return merged(parts) if parts else skip("is an empty envelope")


def _kept(record: Mapping[str, Any], context: Context) -> Parsed:
    """What one record of an envelope says; a bad one spoils no other."""
    if not recognises(record):
        return skip("does not speak of GenAI")
    try:
        return _one(record, context)
    except BadEvent as error:
        raw = json.dumps(record, ensure_ascii=False, default=str)
        line = RejectedLine(line=0, raw=raw, field=error.field, why=error.why, format=NAME)
        return Parsed(rejected=(line,))


def _one(event: Mapping[str, Any], context: Context) -> Parsed:
    attributes = {**event, **_attributes(event)}
    fields = Fields(NAME, attributes)
    if fields.get("gen_ai.evaluation.name") is not None:
        return _evaluation(fields, context.received)
    if fields.maybe_text("gen_ai.operation.name", default="chat") not in _CHAT:
        return skip("is no answer of a model")
    said = exchange(
        _messages(fields, "gen_ai.input.messages"),
        _messages(fields, "gen_ai.output.messages"),
        fields,
        "gen_ai.input.messages",
        context.context_turns,
    )
    answer = Prediction(
        id=_answer_id(fields),
        ts=_time(fields, context.received),
        adapter=fields.maybe_text("gen_ai.response.model", "gen_ai.request.model"),
        latency_ms=_latency(fields),
        slices=fields.slices("metadata"),
        text=said.text,
        intent=NONE,
    )
    return Parsed(predictions=predictions(answer, said.calls))


def _evaluation(fields: Fields, received: datetime | None) -> Parsed:
    name = fields.text("gen_ai.evaluation.name")
    label, value = (fields.get(f"gen_ai.evaluation.score.{key}") for key in ("label", "value"))
    target = _answer_id(fields)
    if label is None and value is None:
        raise fields.bad("gen_ai.evaluation.score.value", "is missing")
    said = word_of(label)
    if said is None:
        which = "label" if value is None else "value"
        path = f"gen_ai.evaluation.score.{which}"
        said = judged(label if value is None else value, NAME, path)
    given = Given(
        id=fields.maybe_text("event.id", "id") or None,
        prediction_id=target,
        ts=_time(fields, received),
        rater_kind=_rater_kind(name),
    )
    return Parsed(
        feedback=verdict(said, given, [name, target, label, value, fields.get(*_TIMES)], NAME)
    )


def _rater_kind(evaluation: str) -> RaterKind:
    """An evaluation is a model's unless its name says that a person gave it."""
    named = evaluation.casefold()
    return "user" if "user" in named or "human" in named else "model"


def _answer_id(fields: Fields) -> str:
    if fields.get("gen_ai.response.id") is not None:
        return fields.text("gen_ai.response.id")
    if fields.get("spanId", "span_id") is None:
        raise fields.bad("gen_ai.response.id", "is missing")
    return fields.text("spanId", "span_id")


def _time(fields: Fields, received: datetime | None) -> datetime:
    if fields.get(*_TIMES) in (None, 0, "0") and received is not None:
        return received
    return fields.moment(*_TIMES, naive_is_utc=True)


def _latency(fields: Fields) -> float | None:
    start, end = fields.get("startTimeUnixNano"), fields.get("endTimeUnixNano")
    try:
        return (int(end) - int(start)) / 1e6 if start and end else None
    except (TypeError, ValueError, OverflowError):
        return None


def _messages(fields: Fields, name: str) -> list[Any]:
    value = fields.need(name)
    if isinstance(value, str):
        value = from_json(value, NAME, name)
    if not isinstance(value, (list, tuple)):
        raise fields.bad(name, "is not a list of messages")
    return list(value)


def _unfolded(event: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every log record or span of an envelope, a span's events too."""
    for outer, (middle, inner) in _ENVELOPES.items():
        for resource in _objects(event, outer):
            for scope in _objects(resource, middle):
                for record in _objects(scope, inner):
                    yield record
                    for happened in _objects(record, "events"):
                        yield {"spanId": record.get("spanId"), **happened}


def _objects(value: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found = value.get(name) or []
    if not isinstance(found, (list, tuple)):
        raise BadEvent(NAME, name, "is not a list")
    if not all(isinstance(item, Mapping) for item in found):
        raise BadEvent(NAME, name, "holds something that is not an object")
    return list(found)


def _attributes(event: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as an object, whether they are one or OTLP's list of key and value."""
    given = event.get("attributes")
    if isinstance(given, Mapping):
        return {str(key): value for key, value in given.items()}
    if not isinstance(given, (list, tuple)):
        return {}
    return {
        str(pair.get("key")): _any_value(pair.get("value"))
        for pair in given
        if isinstance(pair, Mapping)
    }


def _any_value(value: Any) -> Any:
    """OTLP's AnyValue as plain JSON; integers come as text there."""
    if not isinstance(value, Mapping) or len(value) != 1:
        return value
    kind, inner = next(iter(value.items()))
    if kind == "arrayValue":
        return [_any_value(item) for item in _inner_values(inner)]
    if kind == "kvlistValue":
        pairs = [pair for pair in _inner_values(inner) if isinstance(pair, Mapping)]
        return {str(pair.get("key")): _any_value(pair.get("value")) for pair in pairs}
    if kind == "intValue" and isinstance(inner, str) and inner.lstrip("-").isdecimal():
        return int(inner)
    return inner


def _inner_values(inner: Any) -> list[Any]:
    values = inner.get("values") if isinstance(inner, Mapping) else None
    return list(values) if isinstance(values, (list, tuple)) else []
