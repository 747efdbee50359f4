"""What a file is that was named to be sent, by its first bytes: what cannot be sent is refused.

The refusal says what was seen and which command is meant. Only what is certain is refused; all
else is sent line by line, and the daemon says what is wrong with a line.
"""

from __future__ import annotations

import csv
import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flywheel.cli.text import clean, cut
from flywheel.errors import FlywheelError

HEAD = 65_536  # bytes looked at
GZIP = b"\x1f\x8b"
_SHOWN = 60  # columns of a header that are quoted
_ONE_A_LINE = "write one JSON object a line: jq -c {how} {path} > lines.jsonl"
_CSV = (
    'a source reads CSV: copy it into a folder that `[sources.NAME] plugin = "csv_drop"` names, '
    "or write one JSON object a line"
)
_KINDS: tuple[tuple[bytes, str, str], ...] = (
    (b"PAR1", "Parquet", 'the source `parquet` reads it: [sources.NAME] plugin = "parquet"'),
    (b"PK\x03\x04", "a ZIP archive or a spreadsheet", "unpack it, or export it as JSON lines"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "unzstd it first"),
    (b"\xfd7zXZ", "compressed with xz", "unxz it first"),
    (b"BZh", "compressed with bzip2", "bunzip2 it first"),
    (b"SQLite format 3", "an SQLite database", "export its rows as JSON lines"),
    (b"\xff\xfe", "UTF-16", "iconv -f UTF-16 -t UTF-8 it first"),
    (b"\xfe\xff", "UTF-16", "iconv -f UTF-16 -t UTF-8 it first"),
)
_OF_FEEDBACK = {"prediction_id", "verdict"}
_OF_PREDICTIONS = {"confidence", "adapter", "latency_ms"}
_EVENTS = {"id", "ts", "messages", "calls", *_OF_FEEDBACK, *_OF_PREDICTIONS}


def openable(path: Path) -> None:
    """Refuse a path that is no file.

    Raises:
        FlywheelError: there is none, or it is a folder.
    """
    if path.is_dir():
        raise FlywheelError(
            f"{path} is a folder, not a file", hint=f"name the files in it: {path}/*.jsonl"
        )
    if not path.exists():
        raise FlywheelError(f"{path}: no such file", hint=f"`ls {path.parent}` shows what is there")


def refuse_unsendable(path: Path, look_again: Callable[[Path, bytes], None] | None = None) -> None:
    """Refuse a file that holds no JSON lines, and what `look_again` refuses by its first bytes.

    Raises:
        FlywheelError: what it is instead, and what to do with it.
    """
    openable(path)
    with path.open("rb") as file:
        head = file.read(HEAD)
    if head.startswith(GZIP):
        head = zlib.decompressobj(wbits=31).decompress(head, HEAD)
    refuse_unreadable(path, head)
    if look_again is not None:
        look_again(path, head)


def refuse_unreadable(path: Path, head: bytes) -> None:
    """Refuse what is no NDJSON, by the first bytes of the text (unzipped, if it was zipped).

    Raises:
        FlywheelError: what it is instead, and what to do with it.
    """
    if not head.strip():
        raise FlywheelError(f"{path} is empty", hint="nothing was sent; is it the right file?")
    if head[8:12] == b"DUCK":
        raise FlywheelError(
            f"{path} is a DuckDB database", hint="a backup goes back with `flywheel db restore`"
        )
    for magic, name, todo in _KINDS:
        if head.startswith(magic):
            raise FlywheelError(f"{path} is {name}, not JSON lines", hint=todo)
    if b"\x00" in head:
        raise FlywheelError(f"{path} is binary, not JSON lines", hint="is it the right file?")
    text = head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").lstrip()
    first = text.partition("\n")[0].strip()
    if text.startswith("["):
        hint = _ONE_A_LINE.format(how="'.[]'", path=path)
        raise FlywheelError(f"{path} is one JSON list, not one object a line", hint=hint)
    if first == "{":
        hint = _ONE_A_LINE.format(how=".", path=path)
        raise FlywheelError(f"{path} holds JSON objects over several lines", hint=hint)
    if not text.startswith("{") and (header := _header(first)):
        raise FlywheelError(f"{path} looks like CSV with the columns {header}", hint=_CSV)


def refuse_samples(path: Path, head: bytes) -> None:
    """Refuse samples where events are meant.

    Raises:
        FlywheelError: the first line is a sample that says no split.
    """
    fields = _first(head)
    if {"text", "intent"} <= fields.keys() and not fields.keys() & {"split", *_EVENTS}:
        raise FlywheelError(
            f"{path}: these look like samples (text and intent, no id): nothing was sent",
            hint=f"flywheel samples import {path} --split seed (or dev, golden)",
        )


def refuse_events(path: Path, head: bytes) -> None:
    """Refuse predictions and feedback where samples are meant; raises FlywheelError."""
    fields = _first(head).keys()
    kind = "feedback" if fields & _OF_FEEDBACK else "predictions"
    if fields & (_OF_FEEDBACK | _OF_PREDICTIONS):
        raise FlywheelError(
            f"{path}: these look like {kind}, not samples: nothing was sent",
            hint=f"flywheel ingest {path}",
        )


def _header(line: str) -> str:
    """The columns of a CSV's first line; "" where it does not look like one."""
    for mark in (",", ";", "\t"):
        cells = next(csv.reader([line], delimiter=mark), [])
        if len(cells) > 1 and all(cell.strip() and len(cell) <= _SHOWN for cell in cells):
            return cut(clean(", ".join(cell.strip() for cell in cells)), _SHOWN)
    return ""


def _first(head: bytes) -> Mapping[str, Any]:
    """The first line's object; empty where it is none."""
    try:
        value = json.loads(head.removeprefix(b"\xef\xbb\xbf").lstrip().partition(b"\n")[0])
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
