"""Do a call's arguments fit the intent's JSON Schema?

Checks type, enum, const, properties, required, additionalProperties: false, items, anyOf, oneOf
and allOf; other keywords, and references, are not judged. A whole validator would let nothing
through that matters here and would bring a compiled dependency.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from flywheel.records import NONE, Arguments, Intent


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "number": _is_number,
    "integer": lambda value: _is_number(value) and (isinstance(value, int) or value.is_integer()),
    "object": lambda value: isinstance(value, Mapping),
    "array": lambda value: isinstance(value, (list, tuple)),
    "null": lambda value: value is None,
}


def argument_problems(
    intent: Intent, arguments: Arguments | None, *, complete: bool
) -> tuple[str, ...]:
    """Return what is wrong with a call's arguments, each with its path; empty when they fit.

    Args:
        intent: `none` takes no arguments at all.
        arguments: None: they were not judged, so nothing can be wrong with them.
        complete: also ask for the required ones, and refuse those the schema does not list. A
            teacher's sample is; what a person corrected may name the wrong part alone.
    """
    if arguments is None:
        return ()
    if intent.name == NONE:
        return (f"`{NONE}` takes no arguments",) if arguments else ()
    problems = list(_problems(arguments, intent.parameters, "arguments", complete))
    known = intent.argument_names()
    if complete and known and not intent.parameters.get("additionalProperties"):
        problems += [f"arguments.{name} is not in the schema" for name in set(arguments) - known]
    return tuple(sorted(set(problems)))


def _problems(value: Any, schema: Any, path: str, complete: bool) -> Iterator[str]:
    if not isinstance(schema, Mapping):
        if schema is False:
            yield f"{path} is not allowed"
        return
    yield from _value_problems(value, schema, path)
    if isinstance(value, Mapping):
        yield from _object_problems(value, schema, path, complete)
    elif isinstance(value, (list, tuple)) and "items" in schema:
        for index, item in enumerate(value):
            yield from _problems(item, schema["items"], f"{path}[{index}]", complete)
    for choice in schema.get("allOf", ()):
        yield from _problems(value, choice, path, complete)
    for keyword in ("anyOf", "oneOf"):
        choices = schema.get(keyword)
        if choices and all(any(_problems(value, c, path, complete)) for c in choices):
            yield f"{path} fits none of the schema's choices"


def _value_problems(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    wanted = schema.get("type")
    names = [wanted] if isinstance(wanted, str) else list(wanted or ())
    if names and not any(name not in _TYPES or _TYPES[name](value) for name in names):
        yield f"{path} is not of type {' or '.join(names)}"
    if "enum" in schema and not any(_same(value, allowed) for allowed in schema["enum"]):
        yield f"{path} is none of {', '.join(str(allowed) for allowed in schema['enum'])}"
    if "const" in schema and not _same(value, schema["const"]):
        yield f"{path} is not {schema['const']}"


def _object_problems(
    value: Mapping[str, Any], schema: Mapping[str, Any], path: str, complete: bool
) -> Iterator[str]:
    properties = schema.get("properties", {})
    if complete:
        for name in schema.get("required", ()):
            if name not in value:
                yield f"{path}.{name} is missing"
    for name, item in value.items():
        if name in properties:
            yield from _problems(item, properties[name], f"{path}.{name}", complete)
        elif schema.get("additionalProperties") is False:
            yield f"{path}.{name} is not in the schema"


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: true is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)
