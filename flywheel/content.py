"""Content ids (hashes of canonical JSON), text folding, and equality of call arguments."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

BASE64 = "base64"
"""How bytes that are no UTF-8 are written as text."""

_DIGEST_BYTES = 10  # 20 hex digits: a collision among a billion names has a chance of about 4e-7

_FINAL_PUNCTUATION = " .,;:!?。、،؛؟۔।॥།၊။។៕።"


def canonical(value: Any) -> str:
    """Return canonical JSON: sorted keys, no spaces, any mapping type as an object.

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
        default=_mapping_as_dict,
    )


def content_id(prefix: str, value: Any) -> str:
    """Return `prefix`, a dash, and 20 hex digits of BLAKE2b over the canonical JSON of `value`.

    Raises:
        ValueError, TypeError: as `canonical`.
    """
    encoded = canonical(value).encode("utf-8", "surrogatepass")
    return f"{prefix}-{hashlib.blake2b(encoded, digest_size=_DIGEST_BYTES).hexdigest()}"


def sample_id(
    text: str, intent: str, arguments: Mapping[str, Any] | None, origin: str, split: str
) -> str:
    """Return the id of a sample: "s-" and the hash of its text, label, origin and split.

    The same label of the same text, origin and split has the same id, whoever gave it.
    """
    return content_id("s", [text, intent, arguments, origin, split])


def kept_text(raw: bytes) -> tuple[str, str]:
    """Return bytes as text that can be stored: their UTF-8 and "", or base64 and "base64".

    >>> kept_text("é".encode()), kept_text(b"\xe9")
    (('é', ''), ('6Q==', 'base64'))
    """
    try:
        return raw.decode(), ""
    except UnicodeDecodeError:
        return base64.b64encode(raw).decode(), BASE64


def kept_bytes(text: str, encoding: str) -> bytes:
    """Return the bytes that `kept_text` was given."""
    return base64.b64decode(text) if encoding == BASE64 else text.encode()


def fold(text: str) -> str:
    """Return the text NFKC-normalised and case-folded.

    NFKC is applied before and after, since case folding can undo the normal form.
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]"
)
"""Characters without a shape of their own (Unicode: default ignorable, and format)."""


def text_key(text: str) -> str:
    """Return a key that is equal for texts that look alike but for case, spaces and their end.

    Characters that nobody sees are left out: a second label of a text would hide behind one.

    >>> text_key("Wake  me at six!") == text_key("wake me at\\u200b six") == "wake me at six"
    True
    """
    folded = fold(text)
    key = " ".join((UNSEEN.sub("", folded) or folded).split())
    return key.rstrip(_FINAL_PUNCTUATION) or key


def same_arguments(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Return whether two calls of a function have the same arguments.

    Evaluation, production labels and the teacher's verification all use this rule. It is an
    equivalence: reflexive, symmetric and transitive.

    >>> same_arguments({"time": " Seven  AM", "n": 7.0}, {"n": "7", "time": "seven am", "on": None})
    True
    """
    return arguments_key(first) == arguments_key(second)


def arguments_key(arguments: Mapping[str, Any]) -> str:
    """Return a canonical JSON key that is equal for equal arguments.

    * Text is compared folded (`fold`), with single spaces and without the punctuation that ends a
      sentence, since a span copied from the end of one may carry it. Other punctuation counts.
    * A number equals its text, whole numbers without a fraction: 7, 7.0 and "7" are equal. Text
      is never parsed as a number: "07" and "7.0" equal neither 7 nor each other.
    * true and false equal the words.
    * A null value equals a missing key, in nested objects too. Empty text, an empty list, an empty
      object and null in a list are values.
    * Keys are compared as written, in any order. The order of a list counts.
    """
    return canonical(_normalised(arguments))


def _normalised(value: Any) -> Any:
    if isinstance(value, str):
        return text_key(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(int(value) if isinstance(value, float) and value.is_integer() else value)
    if isinstance(value, Mapping):
        return {name: _normalised(item) for name, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_normalised(item) for item in value]
    return value


def _mapping_as_dict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def states_key(text: str) -> str:
    """Name of a text in the cache of the base's states: of the text alone, not of its label."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
