"""One function call as an object, in the spellings of the tools that log calls.

A call has a name and arguments. Arguments may be an object, JSON text of one, JSON text in JSON
text, or a list of {name, value}. Broken ones keep the call: it is then malformed, and its
arguments are empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from flywheel.formats.reading import BadEvent, Fields, plain
from flywheel.records import Call

NAMES = (
    "name",
    "intent",
    "function",
    "tool",
    "toolName",
    "tool_name",
    "function_name",
    "raw_name",
)
ARGUMENTS = (
    "arguments",
    "args",
    "input",
    "parameters",
    "slots",
    "entities",
    "raw_arguments",
    "params",
    "argument",
    "function_args",
    "tool_args",
    "tool_input",
    "toolInput",
    "action_input",
)
_NESTED = (
    "function",  # OpenAI
    "custom",
    "functionCall",  # Gemini
    "function_call",
    "toolUse",  # Bedrock Converse
    "tool_use",
    "tool_call",  # OpenInference
    "toolCall",
    "toolInvocation",  # Vercel AI SDK
)
_TYPES = frozenset(
    {
        "tool_call",
        "tool-call",
        "tool_use",
        "function_call",
        "function",
        "custom",
        "custom_tool_call",
        "server_tool_use",
        "server_tool_call",
        "mcp_tool_use",
        "mcp_call",
        "mcp_approval_request",
        "tool-invocation",
        "dynamic-tool",
        "invalid_tool_call",
    }
)
_BESIDE = (
    "metadata", "usage", "cache_control", "annotations", "extra_content", "provider_metadata",
    "providerMetadata", "providerOptions", "caller", "result", "output", "error", "reasoning",
)  # fmt: skip
_CUSTOM = ("custom", "custom_tool_call")
_ITEM_NAMES = ("entity", "name", "slot", "key")


class OneCall(NamedTuple):
    """A call as it was read."""

    call: Call  # arguments None: not said
    malformed: bool  # its arguments were broken


class ReadArguments(NamedTuple):
    """Arguments as they were read."""

    values: dict[str, Any]
    malformed: bool


def kind_of(value: Mapping[str, Any]) -> str:
    """Return the `type` of an object where that is a text; otherwise ""."""
    kind = value.get("type")
    return kind if isinstance(kind, str) else ""


def is_call(value: Mapping[str, Any]) -> bool:
    """Whether an object is a call by its type, or by what it holds."""
    kind = kind_of(value)
    if kind in _TYPES or (kind.startswith("tool-") and "toolCallId" in value):
        return True
    if any(isinstance(value.get(name), Mapping) for name in _NESTED):
        return True
    named = any(isinstance(value.get(name), str) for name in NAMES)
    return named and any(name in value for name in ARGUMENTS)


def is_damaged(value: Mapping[str, Any]) -> bool:
    """Whether a call should be inside an object, and something else is."""
    inner = [value[name] for name in _NESTED if value.get(name) is not None]
    return bool(inner) and not any(isinstance(each, (Mapping, str)) for each in inner)


def holds_call(value: Any, depth: int = 8) -> bool:
    """Whether anything inside a value is a call, or an object that names an intent."""
    if depth == 0:
        return False
    if isinstance(value, str) and value.strip()[:1] in ("{", "["):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return False
    if isinstance(value, Mapping):
        named = isinstance(value.get("intent"), str) or is_call(value)
        named = named or any(isinstance(value.get(name), Mapping) for name in ARGUMENTS)
        return named or any(holds_call(item, depth - 1) for item in value.values())
    return isinstance(value, (list, tuple)) and any(holds_call(item, depth - 1) for item in value)


def read_call(value: Any, format: str, path: str) -> OneCall:
    """Return a call written as {name, arguments}, bare or under `function` and the like.

    Raises:
        BadEvent: it has no name.
    """
    if not isinstance(value, Mapping):
        raise BadEvent(format, path, "is not a call")
    for nested in _NESTED:
        inner = value.get(nested)
        if isinstance(inner, Mapping):
            custom = nested == "custom"
            return read_call({**inner, "type": "custom"} if custom else inner, format, path)
    fields, kind = Fields(format, value, path), kind_of(value)
    name = _name(fields, kind)
    keys = [key for key in ARGUMENTS if key in value and not _is_text_asked(key, value, kind)]
    given = fields.get(*keys)
    if kind in _CUSTOM and isinstance(given, str):
        given = _custom(given)
    if not keys:
        _refuse_hidden(fields, kind)
        return OneCall(Call(name, None), kind == "invalid_tool_call")
    values, malformed = arguments(given, format, f"{path}.arguments")
    return OneCall(Call(name, values), malformed)


def arguments(value: Any, format: str, path: str) -> ReadArguments:
    """Return a call's arguments; what cannot be read is malformed, and {}.

    Raises:
        BadEvent: they hold what no store can: half of a surrogate pair, nesting without end.
    """
    for _ in range(3):  # JSON in JSON in JSON
        if not isinstance(value, str):
            break
        if not value.strip():
            return ReadArguments({}, False)
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return ReadArguments({}, True)
    if value is None:
        return ReadArguments({}, False)
    if isinstance(value, (list, tuple)):
        value = _pairs(value) if value else {}
    if not isinstance(value, Mapping):
        return ReadArguments({}, True)
    return ReadArguments(plain(value, format, path), False)


def _refuse_hidden(fields: Fields, kind: str) -> None:
    """Refuse a call whose arguments stand under a key that is not known."""
    for key, value in fields.value.items():
        held = isinstance(value, Mapping) or (isinstance(value, str) and value.strip()[:1] == "{")
        if held and value and key not in (*_BESIDE, *NAMES, kind):
            raise fields.bad(str(key), "is no known name of arguments: name it `arguments`")


def _is_text_asked(key: str, value: Mapping[str, Any], kind: str) -> bool:
    """Whether `input` is the text that was asked, as JSON answers repeat it, and no arguments."""
    given = value[key]
    words = isinstance(given, str) and given.strip()[:1] not in ("{", "[", '"', "")
    return key == "input" and kind not in _TYPES and words and given.strip() != "null"


def _name(fields: Fields, kind: str) -> str:
    for key in NAMES:
        if isinstance(fields.get(key), str):
            name = fields.text(key)
            space = fields.get("namespace")
            spaced = isinstance(space, str) and space and kind == "function_call"
            return f"{space}.{name}" if spaced else name
    if kind.startswith("tool-") and kind not in _TYPES:
        return kind.removeprefix("tool-")
    raise fields.bad("name", "is missing")


def _custom(given: str) -> Any:
    """The input of a custom tool: an object where its text is one, otherwise the text."""
    try:
        value = msgspec.json.decode(given)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        value = None
    return value if isinstance(value, Mapping) else {"input": given}


def _pairs(items: Iterable[Any]) -> Any:
    """Slots and entities as [{name, value}]: an object, a list where a name comes twice."""
    found: dict[str, list[Any]] = {}
    for item in items:
        if not isinstance(item, Mapping) or "value" not in item:
            return items
        name = next((item[key] for key in _ITEM_NAMES if isinstance(item.get(key), str)), None)
        if name is None:
            return items
        found.setdefault(name, []).append(item["value"])
    if not found:
        return items
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}
