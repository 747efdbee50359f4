"""TensorZero: chat and JSON inferences, and feedback as it is posted or as its tables keep it.

A posted verdict has neither id nor time. It is named by its content; its time is when it was
received, otherwise that of the inference's UUIDv7.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from flywheel.formats.calls import exchange, predictions
from flywheel.formats.reading import Context, Fields, Parsed, skip
from flywheel.formats.verdicts import Given, correction, judged, right_calls, verdict
from flywheel.records import NONE, Prediction

NAME = "tensorzero"


def recognises(event: Mapping[str, Any]) -> bool:
    """Whether it is an inference, or feedback on one."""
    if {"function_name", "variant_name"} <= event.keys():
        return True
    if "metric_name" in event:
        return bool({"inference_id", "episode_id", "target_id"} & event.keys())
    return "value" in event and bool({"inference_id", "target_id"} & event.keys())


def read(event: Mapping[str, Any], context: Context) -> Parsed:
    """Return an inference as predictions, feedback as feedback; comments and dry runs as nothing.

    Raises:
        BadEvent: `id`, `input`, `output`, `inference_id` or `value` is missing or unreadable.
    """
    fields = Fields(NAME, event)
    if "function_name" in event:
        return _inference(fields, context.context_turns)
    return _feedback(fields, context.received)


def _inference(fields: Fields, context_turns: int) -> Parsed:
    identity = fields.text("id")
    given = fields.inner("input")
    output = fields.need("output")
    said = exchange(given.need("messages"), (), given, "messages", context_turns)
    calls = said.calls or right_calls(output, NAME, "output", names=False)
    tags = fields.maybe_inner("tags")
    answer = Prediction(
        id=identity,
        ts=_time(fields, identity, None),
        adapter=fields.maybe_text("variant_name"),
        latency_ms=fields.number("processing_time_ms"),
        slices={
            str(key): value
            for key, value in tags.value.items()
            if isinstance(value, str) and not str(key).startswith("tensorzero::")
        },
        text=said.text,
        intent=NONE,
    )
    return Parsed(predictions=predictions(answer, calls))


def _feedback(fields: Fields, received: datetime | None) -> Parsed:
    metric = fields.maybe_text("metric_name")
    if fields.flag("dryrun") or metric == "comment" or fields.get("target_type") is not None:
        return skip("is a comment or a dry run")
    if fields.get("inference_id", "target_id") is None and fields.get("episode_id") is not None:
        raise fields.bad("inference_id", "is missing: an episode names no single answer")
    target = fields.text("inference_id", "target_id")
    tags = fields.maybe_inner("tags").value
    given = Given(
        id=fields.maybe_text("id") or None,
        prediction_id=target,
        ts=_time(fields, target, received),
        rater_kind="model" if "tensorzero::evaluator_inference_id" in tags else "user",
    )
    content = [metric, target, fields.need("value"), tags, fields.get("timestamp")]
    if metric in ("", "demonstration"):
        calls = right_calls(fields.need("value"), NAME, "value", names=False)
        return Parsed(feedback=correction(calls, given, content, NAME))
    said = judged(fields.need("value"), NAME, "value")
    return Parsed(feedback=verdict(said, given, content, NAME))


def _time(fields: Fields, identity: str, received: datetime | None) -> datetime:
    """The row's own time, otherwise when it was received, otherwise that inside the UUIDv7."""
    if fields.get("timestamp") is not None:
        return fields.moment("timestamp", naive_is_utc=True)
    if received is not None:
        return received
    try:
        found = uuid.UUID(identity)
    except ValueError:
        found = None
    if found is None or found.version != 7:
        raise fields.bad("timestamp", "is missing, and the id is no UUIDv7")
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=found.int >> 80)
