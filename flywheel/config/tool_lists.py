"""Tool lists as protocols and libraries write them, read as rows of intents.

Chat Completions (`function`), Responses (flat, and namespaces), Anthropic (`input_schema`), MCP
(`tools/list`), Bedrock (`toolSpec`), Gemini (`functionDeclarations`), and bare JSON Schemas.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

OWN_KEYS = frozenset({"critical", "renamed_from", "split_from", "merged_from"})
"""Keys of an intent that no tool list has, and that may be added to one."""
_SCHEMA_KEYS = ("parameters", "input_schema", "inputSchema", "parametersJsonSchema")
_LISTS = ("tools", "functions", "functionDeclarations", "function_declarations")
_DEFINITIONS = ("$defs", "definitions")


class NotTools(ValueError):
    """What is no list of tools; the message says which entry, and why."""


@dataclass(frozen=True, slots=True)
class ListedTool:
    """One tool: where it stands, and an intent's fields as far as it has them."""

    place: str  # `tool 3`; in a list within the list `tool 3, tool 1`
    row: Mapping[str, Any]


def listed_tools(value: Any) -> tuple[ListedTool, ...]:
    """Return the tools of a JSON value, in its order.

    Args:
        value: a list of tools, an object that holds one, or named definitions of JSON Schema.

    Raises:
        NotTools: it holds no list, only a page of one, or an entry is no function.
    """
    return tuple(_tools(_entries(value), "tool", ""))


def _entries(value: Any) -> Sequence[Any]:
    """The list of tools in a JSON value; definitions by name become entries with their name."""
    if isinstance(value, (list, tuple)):
        return value
    if not isinstance(value, Mapping):
        raise NotTools("is neither a list of tools nor an object with `tools`")
    if value.get("nextCursor"):
        raise NotTools("is one page of a list (`nextCursor`); ask for the others and join them")
    for key in ("result", "toolConfig"):  # MCP's answer as it was sent; Bedrock's request
        if isinstance(value.get(key), Mapping):
            return _entries(value[key])
    for key in _LISTS:
        if isinstance(value.get(key), (list, tuple, Mapping)):
            return _by_name(value[key]) if isinstance(value[key], Mapping) else list(value[key])
    return _defined(value)


def _defined(value: Mapping[str, Any]) -> Sequence[Any]:
    """The one tool that an object is, or those that it defines by name."""
    if value.get("name") or "function" in value or _is_bare_schema(value):
        return [value]
    for key in _DEFINITIONS:
        if isinstance(value.get(key), Mapping):
            shared = {key: value[key]}  # a definition may refer to another
            return [shared | entry for entry in _by_name(value[key]) if _takes_arguments(entry)]
    raise NotTools(f"holds no `tools`; it has {', '.join(map(str, value)) or 'nothing'}")


def _by_name(value: Mapping[str, Any]) -> list[Any]:
    return [
        {"name": name, **entry} if isinstance(entry, Mapping) else entry
        for name, entry in value.items()
    ]


def _tools(entries: Iterable[Any], place: str, namespace: str) -> Iterator[ListedTool]:
    """The tools of a list, and of the lists in it; `namespace` stands before their names."""
    for number, entry in enumerate(entries, 1):
        here = f"{place} {number}"
        if not isinstance(entry, Mapping):
            raise NotTools(f"{here} is no object")
        inner = next((entry[key] for key in _LISTS if isinstance(entry.get(key), list)), None)
        if inner is None:
            yield ListedTool(here, _row(entry, here, namespace))
            continue
        named = entry.get("name") if entry.get("type") == "namespace" else None
        within = ".".join(part for part in (namespace, named) if part)
        yield from _tools(
            inner, f"{here}, tool" if not named else f"{here} ({named}), tool", within
        )


def _row(entry: Mapping[str, Any], place: str, namespace: str) -> dict[str, Any]:
    """A tool as an intent's fields."""
    tool = next((entry[k] for k in ("function", "toolSpec") if _is_object(entry.get(k))), entry)
    name, schema = tool.get("name"), _schema(tool)
    if not name and _is_bare_schema(tool):
        name = tool.get("title")
    if not isinstance(name, str) or not name:
        kind = entry.get("type")
        hosted = isinstance(kind, str) and kind not in ("function", "object", "custom")
        what = f"is a hosted tool (`{kind}`), no function; leave it out" if hosted else None
        raise NotTools(f"{place} {what or 'has no `name`'}")
    within = namespace or entry.get("namespace") or tool.get("namespace") or ""
    row: dict[str, Any] = {"name": f"{within}.{name}" if within else name}
    if described := tool.get("description") or (not _is_bare_schema(tool) and tool.get("title")):
        row["description"] = described
    if schema is not None:
        row["parameters"] = schema
    if _destructive(tool.get("annotations")):
        row["critical"] = True
    for given in (entry, tool):
        _refuse_misspelt(given, place)
        row |= {key: value for key, value in given.items() if key in OWN_KEYS}
    return row


def _schema(tool: Mapping[str, Any]) -> Any:
    """The schema of a tool's arguments; None where it has none."""
    for key in _SCHEMA_KEYS:
        if tool.get(key) is not None:
            schema = tool[key]
            inner = schema.get("json") if isinstance(schema, Mapping) else None
            return inner if _is_object(inner) and len(schema) == 1 else schema
    if _is_bare_schema(tool):
        own = ({"name", "description"} if "name" in tool else {"description"}) | OWN_KEYS
        return {key: value for key, value in tool.items() if key not in own}
    return None


def _is_bare_schema(tool: Mapping[str, Any]) -> bool:
    """Whether a tool is itself the JSON Schema of its arguments, as pydantic writes them."""
    if any(tool.get(key) is not None for key in _SCHEMA_KEYS):
        return False
    return tool.get("type") == "object" or _is_object(tool.get("properties"))


def _takes_arguments(definition: Any) -> bool:
    """Whether a definition is a function's, and no part of others, such as a text."""
    return isinstance(definition, Mapping) and _is_bare_schema(definition)


def _is_object(value: Any) -> bool:
    return isinstance(value, Mapping)


def _destructive(annotations: Any) -> bool:
    """Whether MCP's hints say that a call destroys; they mean nothing of what only reads."""
    if not isinstance(annotations, Mapping):
        return False
    return (
        annotations.get("destructiveHint") is True and annotations.get("readOnlyHint") is not True
    )


def _refuse_misspelt(tool: Mapping[str, Any], place: str) -> None:
    """Refuse a key that is nearly one of an intent's own: it would have no effect."""
    for key in tool.keys() - OWN_KEYS:
        if near := difflib.get_close_matches(str(key), OWN_KEYS, 1, 0.85):
            raise NotTools(f"{place}: unknown key {key}; is {near[0]} meant?")
