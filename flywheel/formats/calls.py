"""Messages of a conversation: what the user said last, and which functions were called then.

Reads the shapes that chat logs have: `tool_calls` and `function_call` of OpenAI, content blocks
(`tool_call`, `tool_use`, `text`), and `parts` of OpenTelemetry. Arguments may be JSON text or an
object.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace

from flywheel.formats.reading import BadEvent, Fields, from_json, plain, unicode
from flywheel.records import NONE, Call, Prediction

_USERS = ("user", "human")
_CALL_BLOCKS = ("tool_call", "tool_use", "function_call")


NO_CALL = Call(NONE, {})


class Exchange(NamedTuple):
    """A user's text and the calls it was answered with; empty: no call."""

    text: str
    calls: tuple[Call, ...]


def predictions(answer: Prediction, calls: Sequence[Call]) -> tuple[Prediction, ...]:
    """Return the answer with its calls, as one prediction; `none` without a call.

    Args:
        answer: everything but the calls.
        calls: what was called in it.
    """
    first = calls[0] if calls else NO_CALL
    several = tuple(Call(call.intent, call.arguments or {}) for call in calls)
    return (
        replace(
            answer,
            intent=first.intent,
            arguments=first.arguments or {},
            calls=several if len(several) > 1 else (),
        ),
    )


def exchange(
    messages: Any, answer: Iterable[Any], fields: Fields, name: str, context_turns: int = 0
) -> Exchange:
    """Return the last user text and the first calls after it.

    The text is answered by the first message with calls after it; what follows a tool's result is
    not an answer to the text.

    Args:
        messages: the conversation so far; a list, or one text.
        answer: messages of the response; their paths are `answer[i]` of the same field.
        fields: of the event, for errors.
        name: field that holds the messages.
        context_turns: earlier user texts to put before the last one, a line each.
    """
    listed = _messages(messages, fields, name)
    users = [
        (index, text)
        for index, message in enumerate(listed)
        if message.get("role") in _USERS
        and (text := message_text(message, fields.format, fields.path(f"{name}[{index}]")))
    ]
    if not users:
        raise fields.bad(name, "has no user message with a text")
    last, _ = users[-1]
    said = [text for _, text in users[-1 - max(0, context_turns) :]]
    replies = [*listed[last + 1 :], *_messages(list(answer), fields, name)]
    for number, message in enumerate(replies, last + 1):
        calls = message_calls(message, fields.format, fields.path(f"{name}[{number}]"))
        if calls:
            return Exchange("\n".join(said), calls)
    return Exchange("\n".join(said), ())


def message_text(message: Mapping[str, Any], format: str, path: str) -> str:
    """Return what a message says; "" for one without words."""
    content = message.get("parts") if message.get("content") is None else message.get("content")
    if isinstance(content, str):
        return unicode(content.strip(), format, path)
    if isinstance(content, Mapping):
        content = [content]
    if not isinstance(content, Sequence):
        return ""
    said = [text for block in content if (text := _block_text(block))]
    return unicode("\n".join(said), format, path)


def message_calls(message: Mapping[str, Any], format: str, path: str) -> tuple[Call, ...]:
    """Return a message's calls in their order."""
    found: list[Any] = list(_list(message.get("tool_calls")))
    if message.get("function_call") is not None:
        found.append(message["function_call"])
    for name in ("content", "parts"):
        blocks = message.get(name)
        blocks = [blocks] if isinstance(blocks, Mapping) else _list(blocks)
        found += [b for b in blocks if isinstance(b, Mapping) and b.get("type") in _CALL_BLOCKS]
    return tuple(one_call(item, format, f"{path}.tool_calls[{i}]") for i, item in enumerate(found))


def one_call(value: Any, format: str, path: str) -> Call:
    """Return a call written as {name, arguments}, bare or under `function`.

    Raises:
        BadEvent: it has no name, or its arguments are neither an object nor JSON text of one.
    """
    if not isinstance(value, Mapping):
        raise BadEvent(format, path, "is not a call")
    inner = value.get("function")
    fields = Fields(format, inner if isinstance(inner, Mapping) else value, path)
    name = fields.text("name", "raw_name", "intent")
    given = fields.get("arguments", "raw_arguments", "input", "parameters")
    return Call(name, arguments(given, format, f"{path}.arguments"))


def arguments(value: Any, format: str, path: str) -> dict[str, Any]:
    """Return a call's arguments, given as an object, as JSON text of one, or not at all."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return {}
    if isinstance(value, str):
        value = from_json(value, format, path)
    if not isinstance(value, Mapping):
        raise BadEvent(format, path, "is not an object")
    read: dict[str, Any] = plain(value, format, path)
    return read


def _messages(value: Any, fields: Fields, name: str) -> list[Mapping[str, Any]]:
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    if not isinstance(value, (list, tuple)):
        raise fields.bad(name, "is not a list of messages")
    for index, message in enumerate(value):
        if not isinstance(message, Mapping):
            raise fields.bad(f"{name}[{index}]", "is not a message")
    return list(value)


def _block_text(block: Any) -> str:
    if isinstance(block, str):
        return block.strip()
    if not isinstance(block, Mapping) or block.get("type", "text") not in ("text", "input_text"):
        return ""
    for name in ("text", "content", "value"):
        if isinstance(block.get(name), str):
            return str(block[name]).strip()
    return ""


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else ()
