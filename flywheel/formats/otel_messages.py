"""Messages of a GenAI span or event, in each place where the conventions have had them.

Today: attributes `gen_ai.input.messages` and `gen_ai.output.messages`, of the span or of its event.
Up to 1.36: an event a message (`gen_ai.user.message`, `gen_ai.choice`), of the span or as log
records. In instrumentations: flat attributes `gen_ai.prompt.N.content`, and the Vercel AI SDK's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from flywheel.formats import otlp
from flywheel.formats.otlp import CHOICE, decoded, nested

INPUT = "gen_ai.input.messages"
OUTPUT = "gen_ai.output.messages"


class Messages(NamedTuple):
    """What a model was given and what it answered; None: not captured."""

    given: Any
    answered: Any


def messages_of(event: Mapping[str, Any], attributes: Mapping[str, Any]) -> Messages:
    """Return the messages of a span or event, wherever they are.

    Args:
        event: the span or log record.
        attributes: its attributes as plain JSON.
    """
    places = (
        Messages(decoded(attributes.get(INPUT)), _answers(decoded(attributes.get(OUTPUT)))),
        _flat(attributes),
        _of_events(event),
        _of_choice(event),
        _of_ai_sdk(attributes),
        Messages(
            decoded(attributes.get("gen_ai.prompt")), decoded(attributes.get("gen_ai.completion"))
        ),
    )
    for place in places:
        if place.given is not None and place.answered is not None:
            return place
    return Messages(*(_first(place[side] for place in places) for side in (0, 1)))


def _first(values: Iterable[Any]) -> Any:
    return next((value for value in values if value is not None), None)


def _answers(messages: Any) -> Any:
    """Messages of an answer, calls of the server's own tools as calls like others."""
    if not isinstance(messages, (list, tuple)):
        return messages
    return [
        {**message, "parts": [_part(part) for part in message["parts"]]}
        if isinstance(message, Mapping) and isinstance(message.get("parts"), (list, tuple))
        else message
        for message in messages
    ]


def _part(part: Any) -> Any:
    """A part; of a server's tool, its arguments stand in an object named like the type."""
    inner = part.get("server_tool_call") if isinstance(part, Mapping) else None
    if not isinstance(inner, Mapping) or part.get("arguments") is not None:
        return part
    given = {key: value for key, value in inner.items() if key != "type"}
    return {
        "type": "tool_call",
        "id": part.get("id"),
        "name": part.get("name") or inner.get("type"),
        "arguments": given,
    }


def _flat(attributes: Mapping[str, Any]) -> Messages:
    """Messages of `gen_ai.prompt.N.role` and `gen_ai.completion.N.tool_calls.M.name`."""
    sides = []
    for prefix in ("gen_ai.prompt", "gen_ai.completion"):
        listed = nested(attributes, prefix)
        listed = listed if isinstance(listed, list) else None
        sides.append(None if listed is None else [_flat_message(each) for each in listed])
    return Messages(*sides)


def _flat_message(message: Any) -> Any:
    """A message whose content may be JSON text of its blocks."""
    if not isinstance(message, dict):
        return message
    content = decoded(message.get("content"))
    blocks = isinstance(content, list) and all(isinstance(each, Mapping) for each in content)
    return {**message, "content": content} if blocks else message


def _of_events(span: Mapping[str, Any]) -> Messages:
    """Messages that a span's events carry, one each or all in one."""
    told = []
    for event in otlp.objects(span, "events"):
        attributes = otlp.attributes(event)
        whole = Messages(decoded(attributes.get(INPUT)), _answers(decoded(attributes.get(OUTPUT))))
        if whole != Messages(None, None):
            return whole
        told.append((otlp.event_name(event), attributes))
    return _told(told)


def _of_choice(record: Mapping[str, Any]) -> Messages:
    """Messages of log records that stand in one envelope; they were put into the choice."""
    pairs = record.get(otlp.MESSAGES)
    if not isinstance(pairs, (list, tuple)):
        return Messages(None, None)
    told = [
        (str(pair[0]), pair[1])
        for pair in pairs
        if isinstance(pair, (list, tuple)) and len(pair) == 2 and isinstance(pair[1], Mapping)
    ]
    return _told(told)


def _told(events: Iterable[tuple[str, Mapping[str, Any]]]) -> Messages:
    given, answered = [], []
    for name, body in events:
        if name == CHOICE:
            inner = decoded(body.get("message"))
            answered.append(_message({**body, **_as_body(inner)}, "assistant"))
        elif name == "gen_ai.content.prompt":
            given += _several(body.get("gen_ai.prompt"), "user")
        elif name == "gen_ai.content.completion":
            answered += _several(body.get("gen_ai.completion"), "assistant")
        elif name.startswith("gen_ai.") and name.endswith(".message"):
            given.append(_message(body, name.split(".")[1]))
    return Messages(given or None, answered or None)


def _as_body(inner: Any) -> Mapping[str, Any]:
    if isinstance(inner, Mapping):
        return inner
    return {"content": inner} if isinstance(inner, str) else {}


def _message(body: Mapping[str, Any], role: str) -> dict[str, Any]:
    """A message of an event; what it has as JSON text is read."""
    content = decoded(body.get("content")) if body.get("content") is not None else None
    if isinstance(content, Mapping) and "content" in content:
        content = content["content"]
    message = {"role": body.get("role") or role, "content": content}
    calls = decoded(body.get("tool_calls"))
    if calls:
        message["tool_calls"] = calls
    if body.get("parts"):
        message["parts"] = decoded(body["parts"])
    return message


def _several(value: Any, role: str) -> list[Any]:
    read = decoded(value)
    if isinstance(read, str):
        return [{"role": role, "content": read}]
    if isinstance(read, Mapping):
        return [read]
    return list(read) if isinstance(read, (list, tuple)) else []


def _of_ai_sdk(attributes: Mapping[str, Any]) -> Messages:
    """Messages of the Vercel AI SDK's spans."""
    given = decoded(attributes.get("ai.prompt.messages"))
    calls = decoded(attributes.get("ai.response.toolCalls"))
    text = attributes.get("ai.response.text")
    if not calls and text is None:
        return Messages(given, None)
    if calls and not isinstance(calls, (list, tuple)):
        return Messages(given, calls)  # whose reading says what is wrong
    calls = [_ai_sdk_call(call) for call in calls or ()]
    return Messages(given, [{"role": "assistant", "content": text, "tool_calls": calls}])


def _ai_sdk_call(call: Any) -> Any:
    if not isinstance(call, Mapping):
        return call
    given = call.get("input", call.get("args"))
    return {"id": call.get("toolCallId"), "name": call.get("toolName"), "arguments": given}
