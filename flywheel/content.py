"""When two contents are the same: names made of them, and the arguments of two calls."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping
from typing import Any

_BYTES = 10  # 20 hex digits: a collision among a billion names has a chance of about 4e-7

_ENDING = " .,;:!?。、؟।"


def canonical(value: Any) -> str:
    """Return JSON that does not depend on the order of keys, spaces, or the kind of mapping.

    Raises:
        ValueError: a number is not finite.
        TypeError: something in `value` is not JSON.

    >>> canonical({"b": 1, "a": "听音乐"})
    '{"a":"听音乐","b":1}'
    """
    return json.dumps(
        value,
        sort_keys=True,
        ensure_ascii=False,
        separators=(",", ":"),
        allow_nan=False,
        default=_plain,
    )


def content_id(prefix: str, value: Any) -> str:
    """Return `prefix`, a dash, and 20 hex digits of BLAKE2b over the canonical JSON of `value`.

    Raises:
        ValueError, TypeError: as `canonical`.
    """
    encoded = canonical(value).encode("utf-8", "surrogatepass")
    return f"{prefix}-{hashlib.blake2b(encoded, digest_size=_BYTES).hexdigest()}"


def sample_id(
    text: str, intent: str, arguments: Mapping[str, Any] | None, origin: str, split: str
) -> str:
    """Return the name of a labelled text: "s-" and the hash of what it says and where it is used.

    Two people who give one text the same label in the same role make one sample.
    """
    return content_id("s", [text, intent, arguments, origin, split])


def fold(text: str) -> str:
    """Return the text with compatible forms made one, and without case.

    Both are done twice, since taking the case away can undo the former.
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def same_arguments(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two calls of a function have the same arguments.

    The one rule of evaluation, of the labels of production and of samples that are asked about
    twice. An equivalence: reflexive, symmetric and transitive.

    >>> same_arguments({"time": " Seven  AM", "n": 7.0}, {"n": "7", "time": "seven am", "on": None})
    True
    """
    return arguments_key(one) == arguments_key(other)


def arguments_key(arguments: Mapping[str, Any]) -> str:
    """Return JSON that is equal for arguments that are the same.

    * Text counts without case, width, surplus space (`fold`) and the punctuation that ends a
      sentence, which a span copied from the end of one may bring along. Other punctuation counts.
    * A number is the text of it, whole ones without a fraction: 7, 7.0 and "7" are the same. Text
      is never read as a number: "07" and "7.0" are neither 7 nor each other.
    * true and false are the words.
    * null is what is not there, in objects inside of arguments too. Empty text, an empty list and
      an empty object are values, and so is null in a list.
    * Names count as they are written, in any order. The order of a list counts.
    """
    return canonical(_compared(arguments))


def _compared(value: Any) -> Any:
    if isinstance(value, str):
        text = " ".join(fold(value).split())
        return text.rstrip(_ENDING) or text
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(int(value) if isinstance(value, float) and value.is_integer() else value)
    if isinstance(value, Mapping):
        return {name: _compared(item) for name, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_compared(item) for item in value]
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
