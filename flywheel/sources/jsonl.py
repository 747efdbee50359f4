"""Events from JSON Lines files that another program appends to, rotates and truncates.

A file is identified by its inode and the hash of its first bytes, not by its name. So a renamed
file is finished under its new name; a truncated file, or one whose inode was reused, is read from
its start; and a restart continues at the byte where the last commit ended. Files compressed or
deleted before they were read are lost. So are files written and renamed out of the glob between
two polls: let the glob match the rotated names too (`app.jsonl*`).

Options: `path`, a file or a glob (`*`, `?`, `**`); `start`, "beginning" (default) or "end": whether
files that are there at the very first opening are read.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from flywheel.errors import FlywheelError, SourceUnavailable
from flywheel.protocols import Batch, Source

LONGEST_LINE = 1 << 20  # bytes; a longer line becomes an unreadable event
QUIET_S = 5.0  # a last line without newline counts when the file is unchanged for this long
_TICK_NS = 1_000_000_000  # two changes within less may have the same modification time
_HEAD = 256  # first bytes, whose hash distinguishes files that reuse an inode


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Read position in one file."""

    path: str  # its last known path
    offset: int  # bytes read
    head: str  # hash of the first min(offset, _HEAD) bytes


def source() -> Source:
    """The built-in source `jsonl`."""
    return JsonLines()


class JsonLines:
    """Reads all files of one glob; see the module."""

    def __init__(self) -> None:
        self._pattern = ""
        self._positions: dict[str, Position] = {}  # by "device:inode"
        self._finished: dict[str, int] = {}  # modification time (ns) of files read to their end
        self._cursor_pending = False  # the first cursor is not committed yet

    def open(self, options: Mapping[str, Any], cursor: str | None) -> None:
        """Take the options and the positions of the last commit."""
        for unknown in sorted(set(options) - {"path", "start"}):
            raise FlywheelError(
                f"the source jsonl knows no option `{unknown}`", hint="it takes `path` and `start`"
            )
        self._pattern = str(options.get("path", ""))
        if not self._pattern:
            raise FlywheelError("the source jsonl needs the option `path`", hint="a file or a glob")
        start = options.get("start", "beginning")
        if start not in ("beginning", "end"):
            raise FlywheelError(f"`start` is {start!r}", hint='it is "beginning" or "end"')
        if cursor is not None:
            self._positions = {
                key: Position(path=path, offset=offset, head=head)
                for key, (path, offset, head) in json.loads(cursor).items()
            }
        elif start == "end":
            self._positions = {key: _at_end(path, size) for key, path, size, _ in self._files()}
            self._cursor_pending = True

    def poll(self, limit: int, timeout: float) -> Batch | None:
        """Return the next lines of the file that was changed longest ago; None when all is read."""
        events: list[Mapping[str, Any]] = []
        for key, path, size, changed in self._files():
            position = self._positions.get(key)
            if position and position.offset == size and self._finished.get(key) == changed:
                continue
            self._positions[key] = self._read(path, position, limit - len(events), events)
            if time.time_ns() - changed > _TICK_NS:
                self._finished[key] = changed
            if len(events) >= limit:
                break
        if not events and not self._cursor_pending:
            return None
        self._cursor_pending = False
        return Batch(events=events, cursor=self._cursor())

    def ack(self, cursor: str) -> None:
        """Nothing to do: the files stay as they are."""

    def close(self) -> None:
        """Nothing is held between two polls."""

    def _cursor(self) -> str:
        return json.dumps(
            {
                key: [position.path, position.offset, position.head]
                for key, position in self._positions.items()
            },
            separators=(",", ":"),
        )

    def _files(self) -> list[tuple[str, str, int, int]]:
        """(device:inode, path, size, modification time) of each file, least recently changed first.

        Files that match the glob, and known files renamed within their folder. Positions of
        deleted files are dropped.
        """
        files: dict[str, tuple[int, str, int]] = {}
        for path in glob.glob(self._pattern, recursive=True):  # noqa: PTH207  may be absolute
            _add_file(files, path)
        for folder in {
            str(Path(position.path).parent)
            for key, position in self._positions.items()
            if key not in files
        }:
            for path in _listed(folder):
                _add_file(files, path, only=self._positions)
        self._positions = {
            key: position
            for key, position in self._positions.items()
            # An empty or missing folder is more likely a lost mount than the end of every file.
            if key in files or not _listed(str(Path(position.path).parent))
        }
        ordered = sorted((changed, path, size, key) for key, (changed, path, size) in files.items())
        return [(key, path, size, changed) for changed, path, size, key in ordered]

    def _read(
        self, path: str, position: Position | None, limit: int, events: list[Mapping[str, Any]]
    ) -> Position:
        try:
            with Path(path).open("rb") as file:
                offset = position.offset if position and _is_same(file, position) else 0
                file.seek(offset)
                for line, length in _lines(file, limit):
                    offset += length
                    if event := _event(line):
                        events.append(event)
                return Position(path=path, offset=offset, head=_head(file, offset))
        except FileNotFoundError:  # between the glob and here; it is found again if renamed
            return position or Position(path=path, offset=0, head=_hash(b""))
        except OSError as error:
            raise SourceUnavailable(f"{path} cannot be read: {error.strerror}") from error


def _listed(folder: str) -> list[str]:
    try:
        return [entry.path for entry in os.scandir(folder)]
    except OSError:
        return []


def _add_file(
    files: dict[str, tuple[int, str, int]], path: str, only: Mapping[str, Position] | None = None
) -> None:
    try:
        status = Path(path).stat()
    except OSError:  # vanished since it was listed
        return
    key = f"{status.st_dev}:{status.st_ino}"
    if Path(path).is_file() and key not in files and (only is None or key in only):
        files[key] = (status.st_mtime_ns, path, status.st_size)


def _is_same(file: BinaryIO, position: Position) -> bool:
    """Whether the position belongs to this content: not truncated, and no reused inode."""
    long_enough = os.fstat(file.fileno()).st_size >= position.offset
    return long_enough and _head(file, position.offset) == position.head


def _lines(file: BinaryIO, limit: int) -> Iterator[tuple[bytes, int]]:
    """Up to `limit` lines, each with its length in the file; overlong lines are cut.

    A last line without newline is returned only when it is JSON and the file is quiet.
    """
    for _ in range(limit):
        line = part = file.readline(LONGEST_LINE + 1)
        length = len(line)
        while part and not part.endswith(b"\n"):
            part = file.readline(LONGEST_LINE)
            length += len(part)
        if not part and not (line and _is_finished(file, line)):
            return
        yield line, length


def _is_finished(file: BinaryIO, line: bytes) -> bool:
    quiet = time.time() - os.fstat(file.fileno()).st_mtime >= QUIET_S
    return quiet and "unreadable" not in (_event(line) or {})


def _event(line: bytes) -> Mapping[str, Any] | None:
    """The line's JSON object; None for an empty line.

    Any other line becomes {"unreadable", "why"}: the daemon stores it as rejected and reads on.
    """
    text = line.strip()
    if not text:
        return None
    if len(line) > LONGEST_LINE:
        return {"unreadable": text[:200].decode(errors="replace"), "why": "longer than 1 MiB"}
    try:
        event = json.loads(text)
    except ValueError as error:
        return {"unreadable": text.decode(errors="replace"), "why": f"no JSON: {error}"}
    if not isinstance(event, dict):
        return {"unreadable": text.decode(errors="replace"), "why": "no JSON object"}
    return event


def _head(file: BinaryIO, offset: int) -> str:
    file.seek(0)
    return _hash(file.read(min(offset, _HEAD)))


def _hash(head: bytes) -> str:
    return hashlib.blake2b(head, digest_size=8).hexdigest()


def _at_end(path: str, size: int) -> Position:
    with Path(path).open("rb") as file:
        return Position(path=path, offset=size, head=_head(file, size))
