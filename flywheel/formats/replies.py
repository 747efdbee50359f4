"""What an answer says: its calls, or that no call is made. Never assumed, always said.

`none` is said by words, by a refusal, by the name `none`, and by `intent: null`. An answer that
names no call and says none of this is refused with the nearest key or shape, as is a lone word
that looks like the name of an intent and is none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from flywheel.formats.answer_rule import (
    NEAR_INTENT,
    NO_CALL,
    Rule,
    Saying,
    is_unknown,
    names_nothing,
    nearest_key,
    says_nothing,
)
from flywheel.formats.answer_text import (
    BrokenCall,
    is_named,
    label_in,
    looks_like_a_label,
    name_between_words,
    values_in,
)
from flywheel.formats.call_shapes import (
    NAMES,
    OneCall,
    arguments,
    holds_call,
    is_call,
    is_damaged,
    kind_of,
    read_call,
)
from flywheel.formats.message_parts import (
    WORDS,
    asks,
    block_words,
    is_message,
    is_result,
    is_silent,
    message_words,
    says_something,
    speaks,
)
from flywheel.formats.reading import BadEvent, unicode
from flywheel.formats.streams import is_chunk, put_together
from flywheel.records import NONE, Call

__all__ = ["NEAR_INTENT", "NO_CALL", "Rule", "Saying", "nearest_key", "read_reply"]

_CALLS = (
    "tool_calls", "toolCalls", "function_call", "functionCall", "function_calls", "functionCalls",
    "toolInvocations", "tool_uses", "toolUses", "invalid_tool_calls",
)  # fmt: skip
_CALLISH_KEYS = re.compile(r"(tool|function)_?(calls?|use|uses|invocations?)$", re.IGNORECASE)
_OF_A_MESSAGE = frozenset(
    {"role", "content", "parts", "refusal", "additional_kwargs", "tool_plan", *_CALLS}
)
_WRAPPERS = (
    "response",
    "required_action",
    "submit_tool_outputs",
    "output",
    "generations",
    "messages",
    "calls",
    "intents",
)
_NOT_ANSWERS = frozenset(
    {"tools", "tool_choice", "functions", "metadata", "usage", "content", "parts", "messages",
     "response_metadata", "request", "model_parameters", "response_format"}
)  # fmt: skip
_SAYS_NO_CALL = ("intent", "tool", "function")


def read_reply(value: Any, path: str, rule: Rule) -> Saying:
    """Return what an answer says: a text, a message, a response, blocks, a call, or JSON.

    Args:
        value: the answer, however its tool logs it.
        path: of the field, for errors.
        rule: the format, and the names that are known.

    Raises:
        BadEvent: it names no call and does not say that there is none.
    """
    if isinstance(value, str):
        return _text(value, path, rule)
    if isinstance(value, Mapping):
        return _object(value, path, rule)
    if isinstance(value, (list, tuple)):
        return _list(value, path, rule)
    if value is None:
        raise says_nothing(path, rule)
    raise rule.bad(path, "is neither a call nor words")


def _text(text: str, path: str, rule: Rule) -> Saying:
    words = unicode(text, rule.format, path).strip()
    if not words:
        raise says_nothing(path, rule)
    if words.startswith(("data: {", "event: ")):
        return read_reply(put_together(words, rule.format, path), path, rule)
    values = list(values_in(words))
    if values:
        return _joined([_value(value, path, rule) for value in values])
    label = label_in(words)
    if label.casefold() == NONE:
        return Saying()
    if rule.known is not None and is_named(label, rule.known):
        return Saying((Call(label, None),))
    if looks_like_a_label(words, rule.known, strict=rule.strict):
        if rule.known is None and not rule.strict:
            return Saying((Call(label, None),))
        raise is_unknown(label, path, rule)
    if label.casefold() in ("null", "nan", "undefined", "true", "false"):
        raise says_nothing(path, rule)
    named = name_between_words(words, rule.known or ())
    if named:
        raise rule.bad(path, f"names `{named}` between words: log the call, or the name alone")
    return Saying()


def _value(value: Any, path: str, rule: Rule) -> Saying:
    """What a JSON value inside a text says."""
    if isinstance(value, BrokenCall):
        if not value.name:
            raise rule.bad(path, "is broken JSON that names no call")
        return Saying((Call(value.name, {}),), True)
    return read_reply(value, path, rule)


def _object(value: Mapping[str, Any], path: str, rule: Rule) -> Saying:
    """What one object says, whichever of the shapes it has."""
    if is_chunk(value):
        return read_reply(put_together([value], rule.format, path), path, rule)
    for name in ("choices", "candidates"):
        if name in value:
            return _first_of(value[name], f"{path}.{name}", rule)
    name = _wrapped(value)
    if not name and is_call(value) and "role" not in value:
        return _json_call(value, path, rule)
    if not name and (is_message(value) or _OF_A_MESSAGE & value.keys()):
        return _unless_hidden(_message(value, path, rule), value, path, rule)
    if not name and _is_block(value):
        return _unless_hidden(_blocks([value], path, rule), value, path, rule)
    name = name or _loosely_wrapped(value)
    if name:
        return read_reply(value[name], f"{path}.{name}", rule)
    return _json_call(value, path, rule)


def _unless_hidden(saying: Saying, value: Mapping[str, Any], path: str, rule: Rule) -> Saying:
    """What an object says; one without a call must not hold one under a key that was not read.

    Raises:
        BadEvent: it does.
    """
    for key, inner in () if saying.calls else value.items():
        if key not in _NOT_ANSWERS and (holds_call(inner) or _names(inner, rule)):
            raise rule.bad(f"{path}.{key}", "holds a call, but is no known place of one")
    return saying


def _names(value: Any, rule: Rule) -> bool:
    """Whether a text names a known intent."""
    if rule.known is None or not isinstance(value, str):
        return False
    return is_named(value, rule.known) or bool(name_between_words(value, rule.known))


def _wrapped(value: Mapping[str, Any]) -> str:
    """The key under which the answer stands in an object that merely holds it; "" for none."""
    if isinstance(value.get("kwargs"), Mapping) and ("lc" in value or "id" in value):
        return "kwargs"  # LangChain, serialised
    if isinstance(value.get("output"), (Mapping, list, tuple)) and not is_call(value):
        return "output"
    if "parsed" in value and not value.get("tool_calls"):
        for name in ("parsed", "raw"):
            if value.get(name) is not None:
                return name
    return "message" if isinstance(value.get("message"), Mapping) else ""


def _loosely_wrapped(value: Mapping[str, Any]) -> str:
    """The same for keys that other objects have too."""
    for name in _WRAPPERS:
        if isinstance(value.get(name), (Mapping, list, tuple)):
            return name
    return "output" if isinstance(value.get("output"), str) else ""


def _is_block(value: Mapping[str, Any]) -> bool:
    """Whether an object is a block by its type, or a text with nothing that may be a call."""
    if kind_of(value) in WORDS:
        return True
    if isinstance(value.get("text"), str):
        return not {"intent", *NEAR_INTENT} & value.keys()
    return bool(kind_of(value)) and not any(name in value for name in NAMES)


def _first_of(value: Any, path: str, rule: Rule) -> Saying:
    """What the first choice of a response says, by its index."""
    if not isinstance(value, (list, tuple)) or not value:
        raise rule.bad(path, "is not a list with a choice: the answer is empty")
    if not all(isinstance(choice, Mapping) for choice in value):
        raise rule.bad(path, "holds something that is not a choice")
    number = next((n for n, choice in enumerate(value) if choice.get("index") == 0), 0)
    first, at = value[number], f"{path}[{number}]"
    for name in ("message", "content", "text"):
        if first.get(name) is not None:
            return read_reply(first[name], f"{at}.{name}", rule)
    raise rule.bad(f"{at}.message", "is missing")


def _list(items: Sequence[Any], path: str, rule: Rule) -> Saying:
    """What messages, blocks or calls in a row say."""
    if not items:
        raise says_nothing(path, rule)
    if all(isinstance(item, Mapping) and is_chunk(item) for item in items):
        return read_reply(put_together(items, rule.format, path), path, rule)
    if len(items) == 1:
        return read_reply(items[0], f"{path}[0]", rule)
    if len(items) > 1 and all(isinstance(item, str) for item in items):
        raise rule.bad(path, "is a list of texts, of which none is said to be the answer")
    return _blocks(_after_the_user(items), path, rule)


def _after_the_user(items: Sequence[Any]) -> Sequence[Any]:
    """What follows the last message of a user, where a whole conversation is the answer."""
    asked = [n for n, item in enumerate(items) if isinstance(item, Mapping) and asks(item)]
    return items[asked[-1] + 1 :] if asked else items


def _message(message: Mapping[str, Any], path: str, rule: Rule) -> Saying:
    """What one message says; of several spellings of its calls, the first counts."""
    called = _called(message, path, rule)
    if called is not None:
        return called
    if message.get("parsed") is not None:
        return read_reply(message["parsed"], f"{path}.parsed", rule)
    content = message.get("content")
    name = "parts" if content in (None, "", [], ()) and message.get("parts") else "content"
    content = message.get(name)
    refusal = message.get("refusal")
    if not content and isinstance(refusal, str) and refusal.strip():
        return Saying()
    if isinstance(content, Mapping):
        return read_reply(content, f"{path}.{name}", rule)
    if isinstance(content, (list, tuple)):
        return _blocks(content, f"{path}.{name}", rule)
    if isinstance(content, str):
        return _text(content, f"{path}.{name}", rule)
    audio = message.get("audio")
    if isinstance(audio, Mapping) and isinstance(audio.get("transcript"), str):
        return _text(audio["transcript"], f"{path}.audio.transcript", rule)
    raise says_nothing(path, rule)


def _called(message: Mapping[str, Any], path: str, rule: Rule) -> Saying | None:
    """The calls of a message beside its content; None without any.

    Raises:
        BadEvent: they stand under a key that is not known.
    """
    extra = _object_in(message.get("additional_kwargs"))
    for holder in (message, extra if isinstance(extra, Mapping) else {}):
        for name in _CALLS:
            calls = _object_in(holder.get(name))
            calls = [calls] if isinstance(calls, Mapping) and calls else calls
            if isinstance(calls, (list, tuple)) and calls:
                return _calls(calls, f"{path}.{name}", rule, broken=name.startswith("invalid"))
            if isinstance(calls, str) and calls.strip():
                raise rule.bad(f"{path}.{name}", "is a text, not a list of calls")
        for key, value in holder.items():
            unknown = isinstance(key, str) and key not in _CALLS and _CALLISH_KEYS.search(key)
            if unknown and isinstance(value, (list, tuple, Mapping)) and value:
                raise rule.bad(f"{path}.{key}", "is no known name of calls: name it `tool_calls`")
    return None


def _object_in(value: Any) -> Any:
    """A list or an object, which tables keep as JSON text; {} for null."""
    if isinstance(value, str) and value.strip()[:1] in ("{", "["):
        found = next(iter(values_in(value.strip())), value)
        return value if isinstance(found, BrokenCall) else found
    return {} if value is None else value


def _blocks(items: Sequence[Any], path: str, rule: Rule) -> Saying:
    """What blocks, items or messages in a row say: the calls before the first result of one."""
    calls: list[Saying] = []
    refused: BadEvent | None = None
    for number, item in enumerate(items):
        if not isinstance(item, Mapping):
            continue
        at = f"{path}[{number}]"
        if is_result(item):
            if calls:
                break
        elif is_message(item):
            try:
                reply = _inner_message(item, at, rule)
            except BadEvent as error:
                refused = refused or error  # beside a call, words may be any
                continue
            if reply is not None:
                return _joined([*calls, reply])
        elif kind_of(item) not in WORDS and is_call(item):
            calls.append(_one(item, at, rule))
        else:
            _refuse_half(item, at, rule)
    if refused is not None and not calls:
        raise refused
    return _joined(calls) if calls else _without_calls(items, path, rule)


def _refuse_half(item: Mapping[str, Any], path: str, rule: Rule) -> None:
    """Refuse a call under a name that is not known: half of an answer is another answer."""
    name = _block_name(item)
    if is_damaged(item) or (not _is_read(item) and _callish(name) and holds_call(item)):
        raise rule.bad(path, f"holds a call in a block that is not known: `{name[:60]}`")


def _without_calls(items: Sequence[Any], path: str, rule: Rule) -> Saying:
    """What blocks say of which none is a call."""
    words = [word for item in items for word in _words_of(item) if word.strip()]
    unread = [item for item in items if not isinstance(item, str) and not _is_read(item)]
    named = [_block_name(item) for item in unread]
    if unread and (not words or any(map(_callish, named))):
        raise rule.bad(path, f"holds a block that is not known: `{named[0][:60]}`")
    return _text("\n".join(words), path, rule)


def _inner_message(item: Mapping[str, Any], path: str, rule: Rule) -> Saying | None:
    """What a message in a list calls; None where it calls nothing or is not the model's."""
    if not speaks(item) or not says_something(item):
        return None
    reply = _message(item, path, rule)
    return reply if reply.calls else None


def _words_of(item: Any) -> list[str]:
    if isinstance(item, str):
        return [item]
    if not isinstance(item, Mapping):
        return []
    if is_message(item):
        return message_words(item) if speaks(item) else []
    return [block_words(item)]


def _is_read(item: Any) -> bool:
    return isinstance(item, Mapping) and (
        is_message(item) or is_result(item) or is_silent(item) or bool(block_words(item))
    )


def _block_name(item: Any) -> str:
    if not isinstance(item, Mapping):
        return "null" if item is None else str(item)
    return kind_of(item) or ", ".join(map(str, item)) or "{}"


def _callish(kind: str) -> bool:
    return any(word in kind.casefold() for word in ("tool", "call", "function"))


def _calls(items: Sequence[Any], path: str, rule: Rule, *, broken: bool = False) -> Saying:
    read = [_one(item, f"{path}[{number}]", rule) for number, item in enumerate(items)]
    joined = _joined(read)
    return Saying(joined.calls, joined.malformed or broken)


def _one(item: Any, path: str, rule: Rule) -> Saying:
    """One call of an answer; `none` as a function that may be called says that none is."""
    call, malformed = _given(read_call(item, rule.format, path))
    return Saying((call,), malformed) if call.intent != NONE else Saying()


def _given(found: OneCall) -> OneCall:
    """The call with arguments: a function that was called has some, if only none."""
    call = found.call
    return OneCall(Call(call.intent, call.arguments or {}), found.malformed)


def _joined(replies: Sequence[Saying]) -> Saying:
    return Saying(
        tuple(call for reply in replies for call in reply.calls),
        any(reply.malformed for reply in replies),
    )


def _json_call(value: Mapping[str, Any], path: str, rule: Rule) -> Saying:
    """What an object says that names an intent by a key of its own."""
    intent = value.get("intent")
    if isinstance(intent, Mapping):
        if not {"name", "intent"} & intent.keys():
            raise rule.bad(f"{path}.intent", "has no `name`; null says no call")
        return _json_call({**value, "intent": intent.get("name", intent.get("intent"))}, path, rule)
    if "intent" in value and isinstance(intent, (list, tuple)):
        raise rule.bad(f"{path}.intent", "is a list; several calls stand under `calls`")
    if intent is not None and not isinstance(intent, str):
        raise rule.bad(f"{path}.intent", "is not a text")
    ordered = {"name": intent, **_without_name(value)} if intent is not None else value
    if not any(isinstance(ordered.get(name), (str, Mapping)) for name in NAMES) and not is_call(
        ordered
    ):
        if any(name in value and value[name] is None for name in _SAYS_NO_CALL):
            return Saying()
        return _keyed(value, path, rule)
    found = _flat(read_call(ordered, rule.format, path), value, path, rule)
    name = found.call.intent
    if name.casefold() == NONE:
        return Saying()
    said = intent is not None or (is_call(value) and not any(map(str.isspace, name)))
    other = any(item != name and _names(item, rule) for item in value.values())
    unknown = rule.known is not None and not is_named(name, rule.known)
    if unknown and (not said or (intent is None and other)):
        raise is_unknown(name, path, rule)
    return Saying((found.call,), found.malformed)


def _keyed(value: Mapping[str, Any], path: str, rule: Rule) -> Saying:
    """What an object says whose one key is the name of an intent: {name: arguments}."""
    for name, given in value.items():
        named = isinstance(name, str) and rule.known is not None and is_named(name, rule.known)
        if named and len(value) == 1 and (given is None or isinstance(given, Mapping)):
            read = arguments(given, rule.format, f"{path}.{name}")
            return Saying((Call(name, read.values),), read.malformed)
    raise names_nothing(value, path, rule)


def _flat(found: OneCall, value: Mapping[str, Any], path: str, rule: Rule) -> OneCall:
    """The call with arguments that stand beside its name, where its intent knows them.

    Raises:
        BadEvent: they stand under a key that is nearly the right one.
    """
    call = found.call
    if call.arguments is not None:
        return found
    intent = (rule.known or {}).get(call.intent)
    beside = {key: value[key] for key in value if intent and key in intent.argument_names()}
    if beside:
        return OneCall(Call(call.intent, arguments(beside, rule.format, path).values), False)
    holders = [key for key in value if isinstance(value[key], Mapping) and key not in NAMES]
    near = nearest_key(holders, ("arguments", "parameters"), ())
    if near:
        raise rule.bad(f"{path}.{near}", "is no known name of arguments: name it `arguments`")
    return found


def _without_name(value: Mapping[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in value.items() if key not in NAMES}
