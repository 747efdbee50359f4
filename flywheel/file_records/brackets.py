"""Where does a JSON value end? Counted by brackets and strings, so broken JSON is cut as well.

A string never holds a raw newline in JSON. So a missing quote does harm to the end of its line
only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(rb'"[^"\\\n]*(?:\\[^\n][^"\\\n]*)*(["\n])?|[{}\[\]]')
_COLON = re.compile(rb"\s*:\s*")
_QUOTE, _OPEN, _CLOSE = ord('"'), frozenset(b"{["), frozenset(b"}]")


MOST_VALUES = 2_000_000
"""Of JSON that is read at once: each takes some hundred bytes of memory, however short it is."""


def values_at_most(data: bytes) -> int:
    """How many JSON values there may be in the text, keys included; counted without reading it.

    Commas, colons and brackets in strings count too, so prose has a fiftieth of its length.

    >>> values_at_most(b'[{"a": [1, 2]}, {}]'), values_at_most(b"[" * 40)
    (8, 40)
    """
    return sum(map(data.count, (b",", b":", b"[", b"{"))) + (data[:1] not in (b"[", b"{"))


@dataclass(slots=True)
class BracketScan:
    """A search for the end of a value, which goes on when more bytes have come."""

    at: int  # where the search goes on
    depth: int = 0  # brackets that are open there

    def end(self, data: bytes) -> int:
        """The index behind the bracket that closes the value; -1: more bytes are needed."""
        for token in _TOKEN.finditer(data, self.at):
            first, stop = data[token.start()], token.end()
            if first == _QUOTE:
                if stop >= len(data) - 1 and token[1] is None:
                    self.at = token.start()  # the string may go on
                    return -1
            elif first in _OPEN:
                self.depth += 1
            elif first in _CLOSE:
                self.depth -= 1
                if self.depth <= 0:
                    self.at = stop
                    return stop
            self.at = stop
        self.at = len(data)
        return -1


@dataclass(frozen=True, slots=True)
class JsonMember:
    """One member of an object."""

    key: bytes
    start: int  # of its value
    end: int  # behind its value where that is a list or an object that is closed, else -1


def whole(text: bytes) -> bool:
    """Whether the text is one list or object from its first byte to its last."""
    return text[:1] in (b"{", b"[") and BracketScan(0).end(text) == len(text)


def members(data: bytes, at: int = 0) -> list[JsonMember]:
    """The members of the object that starts at `at`, which may be cut off."""
    found: list[JsonMember] = []
    depth = 0
    for token in _TOKEN.finditer(data, at):
        first = data[token.start()]
        if first == _QUOTE:
            colon = _COLON.match(data, token.end()) if depth == 1 else None
            if colon:
                key = data[token.start() + 1 : token.end() - 1]
                found.append(JsonMember(key, colon.end(), -1))
        elif first in _OPEN:
            depth += 1
        else:
            depth -= 1
            if depth == 1 and found:
                found[-1] = JsonMember(found[-1].key, found[-1].start, token.end())
            if depth <= 0:
                break
    return found
