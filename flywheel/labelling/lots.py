"""Drawing lots: which predictions are in a sample, the same ones whoever asks and whenever.

A lot is a hash of the id alone, so it knows neither what was said nor what was answered; and it
has the name of the draw in it, so that a producer who samples by a hash of its own is no bias.
"""

from __future__ import annotations

import hashlib

_DIGITS = 32


def lot(draw: str, key: str) -> str:
    """Return 32 hex digits, uniform over keys. The store computes the same in SQL."""
    named = f"{draw}:{key}".encode("utf-8", "surrogatepass")
    return hashlib.md5(named, usedforsecurity=False).hexdigest()


def bar(share: float) -> str:
    """Return the hex digits below which the lots of a share of all keys fall; 0..1.

    >>> bar(0.5)
    '80000000000000000000000000000000'
    """
    if share >= 1:
        return "g"  # above every hex digit
    whole = 16**_DIGITS
    return f"{int(max(0.0, share) * whole):0{_DIGITS}x}"


def drawn(draw: str, key: str, share: float) -> bool:
    """Whether a key is in the sample of this share; a larger share holds the smaller one."""
    return lot(draw, key) < bar(share)
