"""Why is a line not JSON? In words that say what to mend."""

from __future__ import annotations

import json
import re
from typing import Any

_WORD = re.compile(rb"[-+]?(?:NaN|nan|Infinity|inf\b|undefined|None|True|False|ObjectId|ISODate)")
_NUMBER = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|(-?\d+(?:\.\d+)?[eE][+-]?\d+|-?\d{300,})')
_BYTE = re.compile(r"\(byte (\d+)\)")
_LONE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_SHOWN = 30  # characters of a number that are quoted

_LONGEST_WHOLE = 20  # digits and sign of an integer of 64 bits


class NotJson(ValueError):
    """Bytes that are no JSON; the message says why, as in "is not JSON: NaN is no number"."""


def decoded(raw: bytes) -> Any:
    """The JSON value that the bytes are.

    Raises:
        NotJson: they are none, or nested too deeply to be read.
    """
    import msgspec  # a tenth of what the command line takes to start

    try:
        return msgspec.json.decode(raw)
    except RecursionError:
        raise NotJson("is nested too deeply") from None
    except UnicodeDecodeError:
        raise NotJson(_not_utf8(raw)) from None
    except msgspec.MsgspecError as error:
        raise NotJson(f"is not JSON: {_fault(raw, str(error))}") from error


def decoded_with_wide_numbers(raw: bytes) -> Any:
    """As `decoded`, but NaN, Infinity and floats beyond 64 bits are read, as not finite.

    A reader then loses the one field that holds such a number, and not the whole line.

    Raises:
        NotJson: as `decoded`; integers beyond 64 bits are no numbers either.
    """
    try:
        return decoded(raw)
    except NotJson:
        try:
            value = json.loads(raw.decode(), parse_int=_whole)
            json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair is no text
            return value
        except (ValueError, RecursionError):
            pass
        raise


def _whole(digits: str) -> int:
    number = int(digits[:_LONGEST_WHOLE])
    if len(digits) > _LONGEST_WHOLE or not -(1 << 63) <= number < 1 << 64:
        raise ValueError("has an integer of more than 64 bits")
    return number


def is_utf8(raw: bytes) -> bool:
    """Whether the bytes are UTF-8."""
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _not_utf8(raw: bytes) -> str:
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return f"is not UTF-8: byte {raw[error.start]:#04x} at {error.start}; name its encoding"
    return "is not UTF-8"


def _fault(raw: bytes, error: str) -> str:
    if not is_utf8(raw):
        return _not_utf8(raw).removeprefix("is ")
    if "out of range" in error:
        for found in _NUMBER.finditer(raw):
            if found[1] and abs(float(found[1])) == float("inf"):
                return f"{found[1].decode()[:_SHOWN]} is larger than any number of 64 bits"
    at = _BYTE.search(error)
    place = int(at[1]) if at else len(raw)
    if word := _WORD.match(raw, place) or _WORD.match(raw, max(0, place - 1)):
        return f"{word.group().decode()} is no JSON value (byte {word.start()})"
    if "surrogate" in error or ("truncated" in error and _LONE.search(raw)):
        return "half of a surrogate pair (\\ud800 to \\udfff) stands alone"
    if raw[place : place + 1] == b"'":
        return f"texts and keys are in double quotes (byte {place})"
    if "truncated" in error:
        return "it ends early"
    return error.removeprefix("JSON is malformed: ")
