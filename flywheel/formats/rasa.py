"""Rasa tracker events, as an event broker or `rasa_event.log` has them, and dumps of trackers.

A user's message is named `sender_id:timestamp`; entities are its arguments. Buttons and events
from outside are not what a person said, so they are skipped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from flywheel.formats.answer_rule import nearest_key
from flywheel.formats.calls import predictions
from flywheel.formats.reading import (
    BadEvent,
    Context,
    Fields,
    Parsed,
    RejectedLine,
    merged,
    plain,
    skip,
)
from flywheel.records import NONE, Call, Prediction

NAME = "rasa"

_FALLBACKS = ("nlu_fallback", "out_of_scope", NONE)
_EXTERNAL = "EXTERNAL"
_NUMBERS = ("$numberDouble", "$numberLong", "$numberInt", "$numberDecimal")


def recognises(event: Mapping[str, Any]) -> bool:
    """Whether it is an event of a tracker, or a tracker with its events."""
    if isinstance(event.get("event"), str) and "timestamp" in event:
        return True
    return "sender_id" in event and isinstance(event.get("events"), (list, tuple))


def read(event: Mapping[str, Any], context: Context) -> Parsed:
    """Return a user's message as a prediction; every other event is skipped.

    In a tracker, a bad event is in `rejected`, its line 0.

    Raises:
        BadEvent: `sender_id`, `timestamp`, `text` or `parse_data` is missing.
    """
    event = _plain_numbers(event)
    if not isinstance(event.get("events"), (list, tuple)):
        return _one(Fields(NAME, event), context)
    parts = [_kept(one, context) for one in unfolded(event)]
    return merged(parts) if parts else skip("is a tracker without events")


def unfolded(tracker: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the events of a tracker, each with its sender, so that `read` takes them one by one."""
    for one in tracker.get("events") or ():
        if isinstance(one, Mapping):
            yield {"sender_id": tracker.get("sender_id"), **one}


def _kept(event: Mapping[str, Any], context: Context) -> Parsed:
    try:
        return _one(Fields(NAME, event), context)
    except BadEvent as error:
        raw = json.dumps(event, ensure_ascii=False, default=str)
        line = RejectedLine(line=0, raw=raw, field=error.field, why=error.why, format=NAME)
        return Parsed(rejected=(line,))


def _one(fields: Fields, context: Context) -> Parsed:
    if fields.get("event") != "user":
        return skip("is no message of a user")
    parsed = fields.inner("parse_data")
    if fields.get("text") is None and parsed.get("text") is None:
        return skip("is a message of a user without a text")
    text = fields.text("text") if fields.get("text") is not None else parsed.text("text")
    intent, named = _intent(parsed)
    metadata = fields.maybe_inner("metadata")
    if metadata.get("is_external") is True or named.startswith(_EXTERNAL):
        return skip("is an event from outside, which no person said")
    if text.startswith(_EXTERNAL) and text.removeprefix(_EXTERNAL).startswith(":"):
        return skip("is an event from outside, which no person said")
    if _is_payload(text.strip()):
        return skip("is a button's payload, which no person said")
    sender, channel = fields.identity("sender_id"), fields.maybe_text("input_channel")
    answer = Prediction(
        id=_name(fields, sender),
        ts=fields.moment("timestamp", naive_is_utc=True, received=context.received),
        adapter=metadata.maybe_text("model_id", "assistant_id") or fields.maybe_text("model_id"),
        confidence=intent.confidence("confidence"),
        slices={**({"channel": channel} if channel else {}), **fields.slices("metadata")},
        aliases=_message_id(fields, parsed),
        session=sender,
        rater=sender,
        text=text,
        intent=NONE,
    )
    named = _retrieved(parsed, named)
    calls = () if named in _FALLBACKS else (Call(named, _arguments(parsed)),)
    return Parsed(predictions=predictions(answer, calls))


def _intent(parsed: Fields) -> tuple[Fields, str]:
    """The intent and its name; null says that none was found, an intent that is not there does
    not."""
    if "intent" not in parsed.value:
        raise parsed.bad("intent", "is missing")
    intent = parsed.maybe_inner("intent")
    if parsed.get("intent") is not None and "name" not in intent.value:
        raise intent.bad("name", "is missing")
    return intent, NONE if intent.get("name") is None else intent.text("name")


def _is_payload(text: str) -> bool:
    """Whether a text is what a button sends: `/intent`, or `/intent{"entity": "value"}`."""
    named, brace, rest = text.removeprefix("/").partition("{")
    one_word = bool(named.strip()) and len(named.split()) == 1
    return text.startswith("/") and one_word and (not brace or rest.endswith("}"))


def _name(fields: Fields, sender: str) -> str:
    """Sender and time, the time as a float's shortest form: 1 and 1.0 are one moment."""
    stamp = fields.get("timestamp")
    if stamp is None:
        raise fields.bad("timestamp", "is missing")
    return f"{sender}:{fields.number('timestamp')!r}"


def _message_id(fields: Fields, parsed: Fields) -> tuple[str, ...]:
    for holder in (fields, parsed):
        value = holder.get("message_id")
        if isinstance(value, str) and value.strip():
            return (value,)
    return ()


def _retrieved(parsed: Fields, intent: str) -> str:
    """The intent with the response that was chosen: `faq/python_version`."""
    selector = parsed.get("response_selector")
    chosen = selector.get(intent) if isinstance(selector, Mapping) else None
    if chosen is None and isinstance(selector, Mapping) and "/" not in intent:
        chosen = selector.get("default")
    response = chosen.get("response") if isinstance(chosen, Mapping) else None
    key = response.get("intent_response_key") if isinstance(response, Mapping) else None
    if isinstance(key, str) and key.startswith(f"{intent}/"):
        return key
    return intent


def _arguments(parsed: Fields) -> dict[str, Any]:
    """Entities by name, `name.role` where one has a role; several of one name as a list.

    Of several extractors that found one span, or that do not say where, the first counts.
    """
    meant = "" if "entities" in parsed.value else nearest_key(parsed.value, ("entities",), ())
    if meant:
        raise parsed.bad("entities", f"is missing; `{meant}` is there")
    entities = parsed.get("entities") or []
    if not isinstance(entities, (list, tuple)):
        raise parsed.bad("entities", "is not a list")
    found: dict[str, list[Any]] = {}
    spans: dict[str, list[tuple[Any, Any, Any]]] = {}
    for number, entity in enumerate(entities):
        if not isinstance(entity, Mapping):
            raise parsed.bad(f"entities[{number}]", "is not an object")
        path = parsed.path(f"entities[{number}]")
        name = Fields(NAME, entity, path).text("entity")
        role = entity.get("role")
        name = f"{name}.{role}" if isinstance(role, str) and role else name
        if "value" not in entity:
            raise parsed.bad(f"entities[{number}].value", "is missing")
        where = (entity.get("start"), entity.get("end"), entity.get("extractor"))
        if any(_same_place(where, other) for other in spans.setdefault(name, [])):
            continue
        spans[name].append(where)
        found.setdefault(name, []).append(plain(entity.get("value"), NAME, f"{path}.value"))
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def _same_place(one: tuple[Any, Any, Any], other: tuple[Any, Any, Any]) -> bool:
    """Whether two entities of one name are one thing that two extractors found."""
    if one[2] == other[2]:
        return one[:2] == other[:2] and one[0] is not None
    try:
        return bool(one[0] < other[1] and other[0] < one[1])
    except TypeError:
        return True  # one of them does not say where


def _plain_numbers(value: Any, depth: int = 16) -> Any:
    """The same with numbers as such where MongoDB's extended JSON has them as objects."""
    if depth and isinstance(value, Mapping):
        if len(value) == 1:
            key, inner = next(iter(value.items()))
            if key in _NUMBERS and isinstance(inner, (str, int, float)):
                return _number(inner)
        return {key: _plain_numbers(item, depth - 1) for key, item in value.items()}
    if depth and isinstance(value, (list, tuple)):
        return [_plain_numbers(item, depth - 1) for item in value]
    return value


def _number(text: Any) -> Any:
    try:
        number = float(text)
    except (ValueError, OverflowError):
        return text
    return int(text) if isinstance(text, str) and text.lstrip("-").isdecimal() else number
