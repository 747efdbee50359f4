"""Messages of a conversation: what a person said last, and what that was answered with.

A message that is a system's reminder, holds only results of tools, or is empty is not what a
person said. What an answer says is the rule of `replies`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from flywheel.formats.answer_text import literal_in
from flywheel.formats.call_shapes import kind_of, read_call
from flywheel.formats.message_parts import asks, returns_results, role, speaks
from flywheel.formats.reading import BadEvent, Fields, unicode
from flywheel.formats.replies import NO_CALL, Rule, Saying, nearest_key, read_reply
from flywheel.records import Call, Prediction

__all__ = [
    "NO_CALL",
    "Asked",
    "Exchange",
    "Rule",
    "Saying",
    "asked",
    "exchange",
    "message_calls",
    "message_text",
    "one_call",
    "only_results",
    "predictions",
    "read_reply",
    "spoken_in",
]

_MESSAGES = ("messages", "contents", "input")
_TEXTS = ("text", "query", "question", "input", "message", "prompt", "utterance", "user_input",
          "content", "user_message")  # fmt: skip
_ROLES = ("user", "human", "assistant", "ai", "system", "developer", "tool", "function", "model")
_REMINDER = re.compile(r"<(system-reminder|system_reminder)>.*?(</\1>|$)", re.DOTALL)


class Asked(NamedTuple):
    """What a person said last, and what came after it in the same messages."""

    text: str
    after: tuple[Mapping[str, Any], ...]  # answers and results of tools
    next: int  # index of the first message after it

    @property
    def continues(self) -> str:
        """Why a request with these messages continues a turn; "" where it opens one."""
        if any(returns_results(message) for message in self.after):
            return "a tool's result follows the last message of a person"
        if any(speaks(message) for message in self.after):
            return "an answer follows the last message of a person"
        return ""


class Exchange(NamedTuple):
    """A user's text and the calls it was answered with; empty: no call."""

    text: str
    calls: tuple[Call, ...]
    malformed: bool = False  # the arguments of a call were broken


def predictions(
    answer: Prediction, calls: Sequence[Call], malformed: bool = False
) -> tuple[Prediction, ...]:
    """Return the answer with its calls, as one prediction; `none` without a call.

    Args:
        answer: everything but the calls.
        calls: what was called in it.
        malformed: the arguments of a call were broken.
    """
    first = calls[0] if calls else NO_CALL
    several = tuple(Call(call.intent, call.arguments or {}) for call in calls)
    return (
        replace(
            answer,
            intent=first.intent,
            arguments=first.arguments or {},
            calls=several if len(several) > 1 else (),
            malformed=malformed or answer.malformed,
        ),
    )


def asked(messages: Any, fields: Fields, name: str, context_turns: int = 0) -> Asked:
    """Return what a person said last in a conversation.

    Args:
        messages: the conversation so far; a list, or one text.
        fields: of the event, for errors.
        name: field that holds the messages.
        context_turns: earlier texts of the person to put before the last one, a line each.

    Raises:
        BadEvent: no message of a person has a text.
    """
    listed = _messages(messages, fields, name)
    said = [
        (number, text)
        for number, message in listed
        if asks(message)
        and (text := message_text(message, fields.format, fields.path(f"{name}[{number}]")))
    ]
    if not said:
        raise fields.bad(name, "has no user message with a text")
    last, _ = said[-1]
    for number, message in listed:
        if number > last and asks(message):
            _refuse_damaged(message, fields, f"{name}[{number}]")
    texts = [text for _, text in said[-1 - max(0, context_turns) :]]
    after = tuple(message for number, message in listed if number > last)
    return Asked("\n".join(texts), after, last + 1)


def _refuse_damaged(message: Mapping[str, Any], fields: Fields, path: str) -> None:
    """Refuse a later message whose words cannot be read: an earlier text is not what was asked.

    Raises:
        BadEvent: its content stands under another key, or a block of text has none.
    """
    if not {"content", "parts"} & message.keys():
        near = nearest_key(message, ("content",), ())
        if near:
            raise fields.bad(f"{path}.content", f"is missing; `{near}` is there")
    for name in ("content", "parts"):
        blocks = message.get(name)
        for number, block in enumerate(blocks if isinstance(blocks, (list, tuple)) else ()):
            if not isinstance(block, Mapping) or block.get("type") not in ("text", "input_text"):
                continue
            given = next((block[key] for key in ("text", "content") if key in block), None)
            if not isinstance(given, (str, Mapping)):
                raise fields.bad(f"{path}.{name}[{number}].text", "is not a text")


def only_results(messages: Any, fields: Fields, name: str) -> bool:
    """Whether messages bring results of tools and nothing that a person said."""
    listed = [message for _, message in _messages(messages, fields, name)]
    spoken = (message for message in listed if asks(message))
    return any(map(returns_results, listed)) and not any(
        message_text(message, fields.format, fields.path(name)) for message in spoken
    )


def exchange(
    messages: Any,
    answer: Iterable[Any],
    fields: Fields,
    name: str,
    context_turns: int = 0,
    rule: Rule | None = None,
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
        rule: how the answer is read; None: any name is known.

    Raises:
        BadEvent: no message of a person has a text, or the answer says nothing.
    """
    said = asked(messages, fields, name, context_turns)
    replies = [*_answers(said.after), *answer]
    if not replies:
        return Exchange(said.text, ())
    path = fields.path(f"{name}[{said.next}]")
    answers = replies[0] if len(replies) == 1 else replies
    reply = read_reply(answers, path, rule or Rule(format=fields.format))
    return Exchange(said.text, reply.calls, reply.malformed)


def _answers(messages: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Messages without those of a user that say nothing; results of tools stand for themselves."""
    return [
        {"role": "tool", **({} if asks(message) else message)}
        if returns_results(message)
        else message
        for message in messages
        if returns_results(message) or not asks(message)
    ]


def message_text(message: Mapping[str, Any], format: str, path: str) -> str:
    """Return what a message says, without a system's reminders; "" for one without words."""
    content = message.get("parts") if message.get("content") is None else message.get("content")
    if isinstance(content, str):
        return unicode(_REMINDER.sub("", content).strip(), format, path)
    if isinstance(content, Mapping):
        content = [content]
    if not isinstance(content, Sequence):
        return ""
    said = [text for block in content if (text := _block_text(block))]
    return unicode("\n".join(said), format, path)


def message_calls(message: Mapping[str, Any], format: str, path: str) -> tuple[Call, ...]:
    """Return a message's calls in their order; () for words."""
    return read_reply(message, path, Rule(format=format)).calls


def one_call(value: Any, format: str, path: str) -> Call:
    """Return a call written as {name, arguments}, bare or under `function`.

    Raises:
        BadEvent: it has no name, or its arguments are broken.
    """
    call, malformed = read_call(value, format, path)
    if malformed:
        raise BadEvent(format, f"{path}.arguments", "is not an object")
    return Call(call.intent, call.arguments or {})


def spoken_in(value: Any) -> Any:
    """Return the messages or the text inside what a tool logged as its input.

    A text, messages, an object that holds one of them, JSON text of these, or the arguments of a
    function as {args, kwargs}. What holds none is returned as it is.
    """
    if isinstance(value, str) and value.strip()[:1] in ("{", "["):
        try:
            read = msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            read = literal_in(value.strip())
        return spoken_in(read) if isinstance(read, (Mapping, list)) else value
    if not isinstance(value, Mapping) or role(value) in ("user", "human"):
        return value
    inner = _spoken_under(value)
    return value if inner is None else spoken_in(inner) if isinstance(inner, Mapping) else inner


def _spoken_under(value: Mapping[str, Any]) -> Any:
    """What stands under a key that usually holds it: messages, a text, or an object that may."""
    for key in _MESSAGES:
        if isinstance(value.get(key), (list, tuple)) and value[key]:
            return value[key]
    for key in _TEXTS:
        if isinstance(value.get(key), str) and value[key].strip():
            return value[key]
    for key in ("kwargs", "input", "inputs", "request", "body"):
        if isinstance(value.get(key), Mapping) and value[key]:
            return value[key]
    arguments = value.get("args")
    return arguments[0] if isinstance(arguments, (list, tuple)) and arguments else None


def _messages(value: Any, fields: Fields, name: str) -> list[tuple[int, Mapping[str, Any]]]:
    """Messages with their places; null is passed over, a list in a list is opened."""
    if isinstance(value, str):
        return [(0, {"role": "user", "content": value})]
    if isinstance(value, Mapping) and ("role" in value or "content" in value or "parts" in value):
        value = [value]
    if not isinstance(value, (list, tuple)):
        raise fields.bad(name, "is not a list of messages")
    if len(value) == 1 and isinstance(value[0], (list, tuple)) and not _is_pair(value[0]):
        value = value[0]
    found = []
    for index, message in enumerate(value):
        if isinstance(message, str):
            message = {"role": "user", "content": message}
        elif _is_pair(message):
            message = {"role": message[0], "content": message[1]}
        if isinstance(message, Mapping):
            found.append((index, _opened(message)))
        elif message is not None:
            raise fields.bad(f"{name}[{index}]", "is not a message")
    return found


def _is_pair(value: Any) -> bool:
    """Whether a message is written as [role, text]."""
    pair = isinstance(value, (list, tuple)) and len(value) == 2
    return pair and all(isinstance(part, str) for part in value) and value[0].casefold() in _ROLES


def _opened(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """The message inside LangChain's serialised one, and of one that is only parts, a user's."""
    inner = message.get("kwargs")
    if isinstance(inner, Mapping) and isinstance(message.get("id"), (list, tuple)):
        kind = str(message["id"][-1]) if message["id"] else ""
        return {"type": kind, **inner}
    if role(message) == "" and ("parts" in message or "content" in message):
        return {"role": "user", **message}
    if role(message) in ("input_text", "text") and isinstance(message.get("text"), str):
        return {"role": "user", "content": message["text"]}
    return message


def _block_text(block: Any) -> str:
    if isinstance(block, str):
        return _REMINDER.sub("", block).strip()
    if not isinstance(block, Mapping) or kind_of(block) not in ("", "text", "input_text"):
        return ""
    for name in ("text", "content", "value"):
        if isinstance(block.get(name), str):
            return _REMINDER.sub("", str(block[name])).strip()
    return ""
