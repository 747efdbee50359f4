"""Rasa tracker events, as an event broker or `rasa_event.log` has them.

A user's message is named `sender_id:timestamp`; entities are its arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flywheel.formats.calls import predictions
from flywheel.formats.reading import Context, Fields, Parsed, plain, skip
from flywheel.records import NONE, Call, Prediction

NAME = "rasa"

_FALLBACKS = ("nlu_fallback", "out_of_scope", NONE)


def recognises(event: Mapping[str, Any]) -> bool:
    """Whether it is an event of a tracker."""
    return isinstance(event.get("event"), str) and "timestamp" in event


def read(event: Mapping[str, Any], context: Context) -> Parsed:
    """Return a user's message as a prediction; every other event is skipped.

    Raises:
        BadEvent: `sender_id`, `timestamp`, `text` or `parse_data` is missing.
    """
    fields = Fields(NAME, event)
    if event.get("event") != "user":
        return skip("is no message of a user")
    parsed = fields.inner("parse_data")
    intent = parsed.maybe_inner("intent")
    named = intent.maybe_text("name", default=NONE)
    metadata = fields.maybe_inner("metadata")
    channel = fields.maybe_text("input_channel")
    answer = Prediction(
        id=_name(fields),
        ts=fields.moment("timestamp", naive_is_utc=True),
        adapter=metadata.maybe_text("model_id"),
        confidence=intent.fraction("confidence"),
        slices={**({"channel": channel} if channel else {}), **fields.slices("metadata")},
        text=fields.text("text") if fields.get("text") is not None else parsed.text("text"),
        intent=NONE,
    )
    calls = () if named in _FALLBACKS else (Call(named, _arguments(parsed)),)
    return Parsed(predictions=predictions(answer, calls))


def _name(fields: Fields) -> str:
    """Sender and time, the time as a float's shortest form: 1 and 1.0 are one moment."""
    stamp = fields.number("timestamp")
    if stamp is None:
        raise fields.bad("timestamp", "is missing")
    return f"{fields.text('sender_id')}:{stamp!r}"


def _arguments(parsed: Fields) -> dict[str, Any]:
    """Entities by name; several of one name as a list, in their order."""
    entities = parsed.get("entities") or []
    if not isinstance(entities, (list, tuple)):
        raise parsed.bad("entities", "is not a list")
    found: dict[str, list[Any]] = {}
    for number, entity in enumerate(entities):
        if not isinstance(entity, Mapping):
            raise parsed.bad(f"entities[{number}]", "is not an object")
        path = parsed.path(f"entities[{number}]")
        name = Fields(NAME, entity, path).text("entity")
        found.setdefault(name, []).append(plain(entity.get("value"), NAME, f"{path}.value"))
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}
