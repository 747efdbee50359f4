"""A model's answer as text: is it a call in disguise, an intent's name, or prose?

Text may hold JSON (bare, fenced, between other words, cut off), tags around a call, or a call
written as in Python. One word that looks like a label is a label, known or not: it is never
prose.
"""

from __future__ import annotations

import ast
import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from flywheel.records import NONE, Intent

_FENCED = re.compile(r"```[\w-]*\s*(.*?)(?:```|$)", re.DOTALL)
_TAGGED = re.compile(
    r"<(tool_call|function_call|toolcall|tool_use)>\s*(.*?)\s*(?:</\1>|$)", re.DOTALL
)
_NAMED_TAG = re.compile(r"<function=([\w.-]+)>\s*(.*?)\s*(?:</function>|$)", re.DOTALL)
_MARKED = re.compile(r"^(?:\[TOOL_CALLS\]|<\|python_tag\|>|<\|tool_call\|>)\s*", re.DOTALL)
_REACT = re.compile(r"Action:\s*([\w.-]+)\s*\n+\s*Action Input:\s*(.*)", re.DOTALL)
_OF_CALLS = (
    "<tool_call",
    "<function",
    "<invoke",
    "<|tool",
    "<｜tool",
    "[TOOL_CALLS]",
    "<|python_tag|>",
)
_NAME_IN_BROKEN = re.compile(r"[\"'](?:intent|name|function|tool)[\"']\s*:\s*[\"']([\w.-]+)[\"']")
_PREFIXED = re.compile(r"^(?:intent|label|class|function|tool|name)\s*[:=]\s*(\S+)$", re.IGNORECASE)
_WORD = re.compile(r"[\w.\-]+")
_CAMEL = re.compile(r"[a-z0-9][A-Z]")
_PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^\W\d_a-zA-Z]+")
_QUOTES = "`\"'*"
_LONGEST = 20_000  # characters of text that is looked at as Python
_ONE_WORD = 8  # characters of a word in a script without spaces; longer ones are sentences


class BrokenCall(NamedTuple):
    """A call whose JSON is broken, of which the name could be read."""

    name: str


def values_in(text: str) -> Iterator[Any]:
    """Yield the JSON values that a text holds as its answer, BrokenCall for a broken call.

    Yields nothing for a text without any.
    """
    marked = any(mark in text for mark in _OF_CALLS)
    text = _MARKED.sub("", text)
    tags = list(_TAGGED.finditer(text))
    named = list(_NAMED_TAG.finditer(text))
    if tags or named:
        yield from (_value_or_broken(tag.group(2)) for tag in tags)
        for tag in named:
            yield {"name": tag.group(1), "arguments": tag.group(2)}
        return
    fenced = _FENCED.search(text)
    if fenced and fenced.group(1).strip()[:1] in ("{", "[", '"'):
        yield _value_or_broken(fenced.group(1).strip())
        return
    if text[:1] in ("{", "[", '"'):
        yield from _begun(text)
        return
    acted = _REACT.search(text)
    if acted:
        yield {"name": acted.group(1), "arguments": acted.group(2).partition("\nObservation")[0]}
        return
    called = _as_python(text)
    if called is not None:
        yield called
        return
    inside = _between_words(text)
    if inside is not None:
        yield inside
    elif marked:
        yield BrokenCall("")


def label_in(text: str) -> str:
    """Return the text without what is put around a label: quotes, `intent:`, a full stop."""
    word = text.strip().strip(_QUOTES).strip()
    prefixed = _PREFIXED.match(word)
    word = prefixed.group(1).strip(_QUOTES) if prefixed else word
    return word.removesuffix("()").rstrip(".!。").strip(_QUOTES) or text


def is_named(label: str, known: Mapping[str, Intent]) -> bool:
    """Whether a label is the name of an intent, or was."""
    return label in known or any(
        label in (*intent.renamed_from, *intent.merged_from, *intent.split_from)
        for intent in known.values()
    )


def name_between_words(text: str, known: Iterable[str]) -> str:
    """Return the known name that a text holds between other words; "" for none.

    Names that may be a word of any sentence are not looked for.
    """
    words = {word.strip(".-") for word in _WORD.findall(text)}
    return next((name for name in known if name in words and not name.isalpha()), "") or next(
        (name for name in known if name in words and _CAMEL.search(name)), ""
    )


def looks_like_a_label(text: str, known: Iterable[str] | None, *, strict: bool = False) -> bool:
    """Whether a text that is no known intent's name looks like one rather than like prose.

    Args:
        text: one that holds no JSON.
        known: names of the intents; None: any.
        strict: any word on its own is a label.
    """
    words = text.split()
    if not words or len(words) > 2:
        return False
    word = words[0].strip(_QUOTES).rstrip(".!?,;:")
    if len(words) == 1 and _WORD.fullmatch(word):
        if word.isdecimal() or _CAMEL.search(word) or any(mark in word for mark in "_.-"):
            return True
        if strict and (word.isascii() or len(word) <= _ONE_WORD):
            return True
    return known is not None and nearest(text, known) is not None


def nearest(text: str, known: Iterable[str]) -> str | None:
    """Return the known name that a label is nearest to, by its letters or by its words."""
    names = {name.casefold(): name for name in known if name != NONE}
    wanted = "_".join(parts_of(text)) or text.casefold()
    folded = {"_".join(parts_of(name)) or name.casefold(): name for name in names.values()}
    close = difflib.get_close_matches(wanted, folded, 1, 0.75)
    if close:
        return folded[close[0]]
    said = {part for part in parts_of(text) if len(part) > 2}
    shared = {
        name: len(said & set(parts_of(name))) / len(parts_of(name))
        for name in names.values()
        if parts_of(name)
    }
    best = max(shared, key=lambda name: (shared[name], name), default=None)
    return best if best is not None and shared[best] >= 0.5 else None


def parts_of(name: str) -> list[str]:
    """The words of a name or a short text, in lower case.

    >>> parts_of("setAlarm_now"), parts_of("Set Alarm, now")
    (['set', 'alarm', 'now'], ['set', 'alarm', 'now'])
    """
    return [part.casefold() for part in _PARTS.findall(name)]


def _begun(text: str) -> Iterator[Any]:
    """The value of a text that begins as JSON; nothing where it merely begins so."""
    value = _value_or_broken(text)
    if not isinstance(value, BrokenCall) or value.name:
        yield value
    elif (called := _as_python(text)) is not None:
        yield called
    elif re.match(r"[\[{]\s*[\"'\[{]", text):
        yield value


def _value_or_broken(text: str) -> Any:
    """The JSON or Python value of a text, or the name of the call that is broken in it."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        pass
    value = literal_in(text)
    if value is None:
        value = _sequence(text)
    if value is not None:
        return value
    found = _NAME_IN_BROKEN.search(text)
    return BrokenCall(found.group(1) if found else "")


def _sequence(text: str) -> Any:
    """Objects one after another as a list, or one object with words behind it; None: broken."""
    values: list[Any] = []
    rest = text
    while rest[:1] in ("{", "["):
        try:
            value, end = json.JSONDecoder().raw_decode(rest)
        except (ValueError, RecursionError):
            return None
        values.append(value)
        rest = rest[end:].lstrip(" \t\r\n,;")
    return values[0] if len(values) == 1 else values or None


def literal_in(text: str) -> Any:
    """A dict or list in Python's own spelling, as `str` writes it."""
    if len(text) > _LONGEST or text[:1] not in ("{", "["):
        return None
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, (dict, list)) else None


def _as_python(text: str) -> Any:
    """Calls written as `name(key="value")`, one or a list of them."""
    if len(text) > _LONGEST or not re.match(r"\[?\s*[\w.]+\(", text) or text[-1:] not in (")", "]"):
        return None
    try:
        tree = ast.parse(text, mode="eval").body
        nodes = tree.elts if isinstance(tree, ast.List) else [tree]
        calls = [_python_call(node) for node in nodes]
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return calls if calls and all(calls) else None


def _python_call(node: ast.expr) -> dict[str, Any] | None:
    if not isinstance(node, ast.Call) or node.args:
        return None
    if any(keyword.arg is None for keyword in node.keywords):
        return None
    values = {str(word.arg): ast.literal_eval(word.value) for word in node.keywords}
    return {"name": ast.unparse(node.func), "arguments": values}


def _between_words(text: str) -> Any:
    """An object that names an intent between other words."""
    start = text.find("{")
    if start < 0:
        return None
    try:
        value, _ = json.JSONDecoder().raw_decode(text[start:])
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and ("intent" in value or "name" in value) else None
