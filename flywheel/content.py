"""Names made from content: the same content has the same name, whoever makes it and whenever."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_BYTES = 10  # 20 hex digits: a collision among a billion names has a chance of about 4e-7


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


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
