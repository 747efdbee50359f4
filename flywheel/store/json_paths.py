"""Values inside JSON documents: by path, and every text of a line in whatever form.

A path is keys joined by dots. `*` is each item of a list or each value of an object, and `{}` is
the JSON object that a text has inside, such as the data of a prompt. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

EACH, INSIDE = "*", "{}"
_DEPTH = 40  # of JSON within JSON and of nesting; deeper is not looked at


def leaves(value: Any, path: str) -> Iterator[Any]:
    """Yield what stands at a path.

    >>> list(leaves({"briefs": [{"texts": ["a"]}, {"texts": ["b"]}]}, "briefs.*.texts.*"))
    ['a', 'b']
    >>> list(leaves({"content": 'read: {"texts": ["a"]} Thanks.'}, "content.{}.texts.*"))
    ['a']
    """
    yield from _leaves(value, path.split("."))


def _leaves(value: Any, path: list[str]) -> Iterator[Any]:
    if not path:
        yield value
        return
    head, rest = path[0], path[1:]
    if head == INSIDE:
        if isinstance(value, str):
            yield from _leaves(_inside(value), rest)
    elif head == EACH:
        for item in value.values() if isinstance(value, dict) else _items(value):
            yield from _leaves(item, rest)
    elif isinstance(value, dict) and head in value:
        yield from _leaves(value[head], rest)


def changed(value: Any, path: str, change: Callable[[Any], Any]) -> Any:
    """Return a document with `change` of what stands at a path; the rest is as it was.

    >>> changed({"gate": "PASS", "texts": ["PASS"]}, "texts.*", lambda _: "[erased]")
    {'gate': 'PASS', 'texts': ['[erased]']}
    """
    return _changed(value, path.split("."), change)


def _changed(value: Any, path: list[str], change: Callable[[Any], Any]) -> Any:
    if not path:
        return change(value)
    head, rest = path[0], path[1:]
    if head == EACH and isinstance(value, list):
        return [_changed(item, rest, change) for item in value]
    if isinstance(value, dict):
        return {
            key: _changed(item, rest, change) if head in (key, EACH) else item
            for key, item in value.items()
        }
    return value


def texts(value: Any, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield each text in a document with the nearest key above it, also of JSON within JSON.

    >>> list(texts({"id": "p-1", "body": '{"said": ["hi"]}'}))[-1]
    ('said', 'hi')
    """
    yield from _texts(value, "", depth)


def _texts(value: Any, key: str, depth: int) -> Iterator[tuple[str, str]]:
    if depth > _DEPTH:
        return
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _texts(item, name, depth + 1)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, key, depth + 1)
    elif isinstance(value, str):
        yield key, value
        if value[:1] in ("{", "["):
            try:
                yield from _texts(json.loads(value), key, depth + 1)
            except (ValueError, RecursionError):
                return


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _inside(text: str) -> Any:
    """The JSON between the first brace and its partner; None where there is none."""
    start = text.find("{")
    if start < 0:
        return None
    try:
        return json.JSONDecoder().raw_decode(text, start)[0]
    except (ValueError, RecursionError):
        return None
