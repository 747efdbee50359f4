"""Events from JSON Lines files that another program appends to, rotates and truncates.

A file is identified by its inode and the hash of its first bytes, not by its name. So a renamed
file is finished under its new name; a truncated file, or one whose inode was reused, is read from
its start; and a restart continues at the byte where the last commit ended. So that files written
and renamed out of the glob between two polls are not lost, let it match the rotated names too
(`app.jsonl*`).

A file that is compressed, in UTF-16, or a list instead of lines is read when nobody has written to
it for a while; one that was compressed after some of it was read is read from there. A file that
cannot be read becomes one unreadable event, and is tried again; the others are read meanwhile.

Options: `path`, a file or a glob (`*`, `?`, `**`); `start`, "beginning" (default) or "end": whether
files that are there at the very first opening are read; `encoding`, such as "cp1252" or "gbk";
`links`: symbolic links are followed (default false).
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from flywheel.errors import FlywheelError
from flywheel.file_records import decoding
from flywheel.file_records.layouts import needs_its_end, records_of_line
from flywheel.protocols import Batch, Source
from flywheel.sources.opening import checked_links, matching, opened
from flywheel.sources.rows import UNREADABLE, checked, event_of_line, unreadable
from flywheel.sources.whole_files import WholeFile

LONGEST_LINE = 1 << 20  # bytes; a longer line becomes an unreadable event
QUIET_S = 5.0  # a last line without newline counts when the file is unchanged for this long
TORN_S = 3600.0  # so long a last line that is no JSON is waited for; then it is unreadable
_TICK_NS = 1_000_000_000  # two changes within less may have the same modification time
_HEAD = 256  # first bytes, whose hash distinguishes files that reuse an inode
_GONE = 50  # positions of deleted files that are remembered, in case a compressed copy appears


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Read position in one file."""

    path: str  # its last known path
    offset: int  # bytes read
    head: str  # hash of the first min(offset, _HEAD) bytes
    records: int = 0  # of a whole file: how many were delivered
    passed: int = 0  # of a whole file: plain bytes that were read before it was compressed
    told: bool = False  # that it cannot be read

    def parts(self) -> list[Any]:
        """As a cursor has it."""
        rest = (
            [self.records, self.passed, self.told]
            if self.records or self.passed or self.told
            else []
        )
        return [self.path, self.offset, self.head, *rest]


def _position(parts: list[Any]) -> Position:
    path, offset, head, *rest = parts
    records, passed, told = rest or (0, 0, False)
    return Position(path=path, offset=offset, head=head, records=records, passed=passed, told=told)


def source() -> Source:
    """The built-in source `jsonl`."""
    return JsonLines()


class JsonLines:
    """Reads all files of one glob; see the module."""

    def __init__(self) -> None:
        self._pattern = ""
        self._positions: dict[str, Position] = {}  # by "device:inode"
        self._finished: dict[str, int] = {}  # modification time (ns) of files read to their end
        self._gone: dict[str, Position] = {}  # of deleted files
        self._whole: dict[str, WholeFile] = {}  # open ones
        self._encoding = ""
        self._links = False  # symbolic links are followed
        self._cursor_pending = False  # the first cursor is not committed yet

    def open(self, options: Mapping[str, Any], cursor: str | None) -> None:
        """Take the options and the positions of the last commit."""
        checked("jsonl", options, ["path"], ["start", "encoding", "links"])
        self._links = checked_links(options.get("links", False))
        self._pattern = str(options["path"])
        self._encoding = decoding.checked_encoding(str(options.get("encoding", "")))
        start = options.get("start", "beginning")
        if start not in ("beginning", "end"):
            raise FlywheelError(f"`start` is {start!r}", hint='it is "beginning" or "end"')
        if cursor is not None:
            positions = {key: _position(parts) for key, parts in json.loads(cursor).items()}
            self._gone = {key: positions.pop(key) for key in [*positions] if key[:1] == "-"}
            self._positions = positions
        elif start == "end":
            files = self._files()
            self._positions = {key: self._at_end(path, size) for key, path, size, _ in files}
            self._cursor_pending = True

    def poll(self, limit: int, timeout: float) -> Batch | None:
        """Return the next lines of the file that was changed longest ago; None when all is read."""
        events: list[Mapping[str, Any]] = []
        for key, path, size, changed in self._files():
            position = self._positions.get(key)
            if position and position.offset == size and self._finished.get(key) == changed:
                continue
            self._positions[key] = self._read(key, path, position, limit - len(events), events)
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
        """Let go of the files that are read whole."""
        for whole in self._whole.values():
            whole.close()
        self._whole.clear()

    def _cursor(self) -> str:
        return json.dumps(
            {key: position.parts() for key, position in (self._gone | self._positions).items()},
            separators=(",", ":"),
        )

    def _files(self) -> list[tuple[str, str, int, int]]:
        """(device:inode, path, size, modification time) of each file, least recently changed first.

        Files that match the glob, and known files renamed within their folder. Positions of
        deleted files are dropped.
        """
        files: dict[str, tuple[int, str, int]] = {}
        for path in matching(self._pattern, links=self._links):
            _add_file(files, path, links=self._links)
        for folder in {
            str(Path(position.path).parent)
            for key, position in self._positions.items()
            if key not in files
        }:
            for path in _listed(folder):
                _add_file(files, path, links=self._links, only=self._positions)
        for key, position in [*self._positions.items()]:
            # An empty or missing folder is more likely a lost mount than the end of every file.
            if key not in files and _listed(str(Path(position.path).parent)):
                self._forget(key, position)
        ordered = sorted((changed, path, size, key) for key, (changed, path, size) in files.items())
        return [(key, path, size, changed) for changed, path, size, key in ordered]

    def _forget(self, key: str, position: Position) -> None:
        """Drop the position of a deleted file, and remember it for a compressed copy."""
        del self._positions[key]
        if key in self._whole:
            self._whole.pop(key).close()
        elif position.offset:
            self._gone = dict([*self._gone.items(), (f"-{key}", position)][-_GONE:])

    def _read(
        self,
        key: str,
        path: str,
        position: Position | None,
        limit: int,
        events: list[Mapping[str, Any]],
    ) -> Position:
        started = position or Position(path=path, offset=0, head=_hash(b""))
        try:
            with self._opened(path) as file:
                if needs_its_end(file.read(_HEAD)) or self._encoding.startswith(
                    ("utf-16", "utf-32")
                ):
                    return self._read_whole(key, file, started, path, limit, events)
                offset = started.offset if _is_same(file, started) else 0
                file.seek(offset)
                for line, length in _lines(file, limit, self._encoding):
                    offset += length
                    events += _events(line, self._encoding)
                return Position(path=path, offset=offset, head=_head(file, offset))
        except FileNotFoundError:  # between the glob and here; it is found again if renamed
            return started
        except OSError as error:
            if not started.told:
                events.append(unreadable(os.fsencode(path), f"cannot be read: {error.strerror}"))
            return replace(started, told=True)

    def _read_whole(
        self,
        key: str,
        file: BinaryIO,
        position: Position,
        path: str,
        limit: int,
        events: list[Mapping[str, Any]],
    ) -> Position:
        """Read records of a file that is read when it is quiet, and then to its end."""
        if not _is_quiet(file):
            return position
        if not _is_same(file, position):
            position = Position(path=path, offset=0, head=_hash(b""))
        status = os.fstat(file.fileno())
        whole = self._whole.pop(key, None)
        if whole is None or not whole.goes_on(position.records, status.st_mtime_ns):
            passed = position.passed or self._passed(path)
            whole = WholeFile(self._opened(path), path, self._encoding, passed, status.st_mtime_ns)
            whole.skip(position.records)
        events += whole.events(limit)
        if not whole.ended:
            self._whole[key] = whole
        offset = status.st_size if whole.ended else min(_HEAD, status.st_size - 1)
        return Position(
            path=path,
            offset=offset,
            head=_head(file, offset),
            records=whole.records,
            passed=whole.passed,
        )

    def _passed(self, path: str) -> int:
        """Plain bytes of a compressed copy that were read while it was the file of lines."""
        with self._opened(path) as file:
            compression, pieces = decoding.uncompressed(file)
            head, _ = decoding.peeked(pieces, _HEAD)
        for position in reversed([*self._gone.values(), *self._positions.values()]):
            begins = _hash(head[: min(position.offset, _HEAD)]) == position.head
            beside = Path(position.path).parent == Path(path).parent
            if compression and begins and beside and position.offset and not position.records:
                return position.offset
        return 0

    def _opened(self, path: str) -> BinaryIO:
        return opened(path, self._pattern, links=self._links)

    def _at_end(self, path: str, size: int) -> Position:
        try:
            with self._opened(path) as file:
                return Position(path=path, offset=size, head=_head(file, size))
        except OSError:  # told when it is read
            return Position(path=path, offset=0, head=_hash(b""))


def _listed(folder: str) -> list[str]:
    try:
        return [entry.path for entry in os.scandir(folder)]
    except OSError:
        return []


def _add_file(
    files: dict[str, tuple[int, str, int]],
    path: str,
    *,
    links: bool,
    only: Mapping[str, Position] | None = None,
) -> None:
    """Note a file; a link that is not followed as the link that it is, to be told of."""
    try:
        status = Path(path).stat(follow_symlinks=links)
    except OSError:  # vanished since it was listed
        return
    key = f"{status.st_dev}:{status.st_ino}"
    if Path(path).is_file() and key not in files and (only is None or key in only):
        files[key] = (status.st_mtime_ns, path, status.st_size)


def _is_same(file: BinaryIO, position: Position) -> bool:
    """Whether the position belongs to this content: not truncated, and no reused inode."""
    long_enough = os.fstat(file.fileno()).st_size >= position.offset
    return long_enough and _head(file, position.offset) == position.head


def _lines(file: BinaryIO, limit: int, encoding: str) -> Iterator[tuple[bytes, int]]:
    """Up to `limit` lines, each with its length in the file; overlong lines are cut.

    A last line without newline is returned when the file is quiet, and one that is no JSON when it
    was so for long.
    """
    for _ in range(limit):
        line = part = file.readline(LONGEST_LINE + 1)
        length = len(line)
        while part and not part.endswith(b"\n"):
            part = file.readline(LONGEST_LINE)
            length += len(part)
        if not part and not (line and _is_whole(file, line, encoding)):
            return
        yield line, length


def _is_whole(file: BinaryIO, line: bytes, encoding: str) -> bool:
    """Whether a last line without newline is all that will come of it.

    A line that is torn may be one that its writer has buffered half of; after `TORN_S` it is told.
    """
    return _is_quiet(file, TORN_S) or (_is_quiet(file) and _is_json(line, encoding))


def _is_quiet(file: BinaryIO, seconds: float = QUIET_S) -> bool:
    """Whether nobody has written to the file for a while."""
    return abs(time.time() - os.fstat(file.fileno()).st_mtime) >= seconds


def _is_json(line: bytes, encoding: str) -> bool:
    return not any(event.keys() & UNREADABLE for event in _events(line, encoding))


def _events(line: bytes, encoding: str) -> list[Mapping[str, Any]]:
    """The line's JSON objects: usually it is one; none for an empty line.

    What is none becomes an unreadable event: the daemon stores it as rejected and reads on.
    """
    if len(line) > LONGEST_LINE:
        return [unreadable(line.strip()[:200], "longer than 1 MiB", encoding)]
    if encoding:
        event = event_of_line(line.strip(), encoding)
        if event.keys() & UNREADABLE:
            return [event] if line.strip() else []
        line = line.decode(encoding).encode("utf-8", "surrogatepass")
    found = [record for record in records_of_line(line) if not record.skipped]
    return [event_of_line(record.raw) for record in found]


def _head(file: BinaryIO, offset: int) -> str:
    file.seek(0)
    return _hash(file.read(min(offset, _HEAD)))


def _hash(head: bytes) -> str:
    return hashlib.blake2b(head, digest_size=8).hexdigest()
