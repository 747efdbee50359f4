"""The tools that a request offers: are they those that the adapter knows, and which may be called?

An adapter knows its functions by name and by the names of their arguments. A list is taken when
each tool of it is one of them with the very same arguments; it may leave some out, and is then
answered with those that are offered alone. A decision is kept by the list's bytes, since a client
sends the same list with each request.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from flywheel.content import content_id
from flywheel.inference.loaded import LoadedAdapter
from flywheel.inference.refused import NotServable
from flywheel.records import NONE

_KEPT = 64  # decisions on lists, of one adapter
_NAMED = 5  # tools named in one message


@dataclass(frozen=True, slots=True)
class Offered:
    """Tools that may be called."""

    names: frozenset[str] | None  # None: every one that the adapter knows
    fingerprint: str = ""  # of the list as it was sent


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolChoice:
    """What the request says of calling."""

    may_call: bool = True
    must_call: bool = False
    names: frozenset[str] | None = None  # only these; None: any that is offered


EVERY_TOOL = Offered(None)
ANY_CHOICE = ToolChoice()


def offered(raw: bytes, loaded: LoadedAdapter) -> Offered:
    """Return what a request's `tools` offer.

    Args:
        raw: the JSON value as it was sent; b"" or null for none.
        loaded: that is to answer.

    Raises:
        NotServable: the adapter was not trained on one of them; each is named.
    """
    if raw in (b"", b"null"):
        return EVERY_TOOL
    seen = loaded.tools_seen.get(raw)
    if seen is None:
        try:
            seen = _decided(raw, loaded)
        except NotServable as refused:
            seen = refused
        if len(loaded.tools_seen) >= _KEPT:
            loaded.tools_seen.pop(next(iter(loaded.tools_seen)))
        loaded.tools_seen[raw] = seen
    if isinstance(seen, NotServable):
        raise seen.with_traceback(None)
    assert isinstance(seen, Offered)
    return seen


def _decided(raw: bytes, loaded: LoadedAdapter) -> Offered:
    tools = msgspec.json.decode(raw)
    if not isinstance(tools, list):
        raise NotServable("`tools` is not a list", param="tools", code="invalid_type")
    if not tools:
        return EVERY_TOOL
    named = [_named(tool, f"tools[{number}]") for number, tool in enumerate(tools)]
    problems = [problem for name, tool in named for problem in _problems(name, tool, loaded)]
    if problems:
        more = len(problems) - _NAMED
        listed = "; ".join(problems[:_NAMED]) + (f"; and {more} more" if more > 0 else "")
        raise NotServable(
            f"{loaded.id} was not trained on these tools: {listed}",
            hint="offer tools of its own list, or leave `tools` out for all of them",
            param="tools",
            code="unknown_tools",
        )
    names = frozenset(name for name, _ in named)
    every = loaded.labels - {NONE} <= names
    return Offered(None if every else names, content_id("t", tools))


def _named(tool: Any, place: str) -> tuple[str, Mapping[str, Any]]:
    """A tool's name, and the object with its parameters: nested as in Chat Completions, or flat."""
    kind = tool.get("type") if isinstance(tool, Mapping) else None
    if not isinstance(tool, Mapping):
        raise NotServable(f"`{place}` is not a tool", param=place, code="invalid_type")
    if kind != "function":
        what = f"is a tool of type `{kind}`" if isinstance(kind, str) else "has no `type`"
        raise NotServable(
            f"`{place}` {what}: only functions can be called",
            hint="leave it out",
            param=f"{place}.type",
            code="unknown_tools",
        )
    inner = tool.get("function")
    function = inner if isinstance(inner, Mapping) else tool
    name = function.get("name")
    if not isinstance(name, str) or not name:
        raise NotServable(f"`{place}` has no name", param=place, code="invalid_type")
    return name, function


def _problems(name: str, tool: Mapping[str, Any], loaded: LoadedAdapter) -> Iterator[str]:
    """What the adapter does not know of a tool."""
    if name not in loaded.labels or name == NONE:
        yield f"`{name}` is not known"
        return
    parameters = tool.get("parameters")
    properties = parameters.get("properties") if isinstance(parameters, Mapping) else None
    given = frozenset(properties) if isinstance(properties, Mapping) else frozenset()
    known = loaded.arguments.get(name, frozenset())
    if added := sorted(given - known):
        yield f"`{name}` takes `{'`, `'.join(added)}`, which it never gives"
    if missing := sorted(known - given):
        yield f"`{name}` lacks `{'`, `'.join(missing)}`, which it may give"


def chosen(value: Any, listed: Offered, loaded: LoadedAdapter) -> ToolChoice:
    """Read `tool_choice`: a word, a function by name, or allowed tools.

    Args:
        value: as sent; None where it is missing.
        listed: what is offered.
        loaded: that is to answer.

    Raises:
        NotServable: it is none of these, or names a function that is not offered.
    """
    if value is None or value == "auto":
        return ANY_CHOICE
    if value == "none":
        return ToolChoice(may_call=False)
    if value == "required":
        return ToolChoice(must_call=True)
    if isinstance(value, Mapping) and value.get("type") == "function":
        function = value.get("function") if isinstance(value.get("function"), Mapping) else value
        return ToolChoice(must_call=True, names=_offered_names([function], listed, loaded))
    if isinstance(value, Mapping) and value.get("type") == "allowed_tools":
        inner = value.get("allowed_tools")
        allowed = inner if isinstance(inner, Mapping) else value
        tools = allowed.get("tools")
        if isinstance(tools, list) and allowed.get("mode") in ("auto", "required"):
            functions = [
                each.get("function", each) if isinstance(each, Mapping) else {} for each in tools
            ]
            names = _offered_names(functions, listed, loaded)
            return ToolChoice(must_call=allowed["mode"] == "required", names=names)
    raise NotServable(
        "`tool_choice` is not known here",
        hint='write "auto", "none", "required", a function or allowed tools',
        param="tool_choice",
        code="invalid_value",
    )


def _offered_names(
    functions: Sequence[Any], listed: Offered, loaded: LoadedAdapter
) -> frozenset[str]:
    names = [each.get("name") if isinstance(each, Mapping) else None for each in functions]
    there = loaded.labels - {NONE} if listed.names is None else listed.names
    for name in names:
        if not isinstance(name, str) or name not in there:
            raise NotServable(
                f"`tool_choice` names `{name}`, which is not offered",
                hint="name one of `tools`",
                param="tool_choice",
                code="unknown_tools",
            )
    return frozenset(name for name in names if isinstance(name, str))


def call_of(intent: str, listed: Offered, choice: ToolChoice) -> str:
    """The function that is called; "" for none.

    Raises:
        NotServable: a call is required, and the adapter would not make one of those allowed.

    >>> call_of("set_alarm", EVERY_TOOL, ANY_CHOICE)
    'set_alarm'
    >>> call_of("set_alarm", Offered(frozenset({"play_music"})), ANY_CHOICE)
    ''
    """
    allowed = all(names is None or intent in names for names in (listed.names, choice.names))
    if choice.may_call and intent != NONE and allowed:
        return intent
    if choice.must_call:
        raise NotServable(
            "a call is required, and none of the allowed functions fits this message",
            hint='ask with tool_choice "auto" to be told so by an answer',
            param="tool_choice",
            code="no_tool_fits",
            status=422,
        )
    return ""
