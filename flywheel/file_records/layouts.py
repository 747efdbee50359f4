"""Which JSON records does a file hold? The bytes of each, in bounded memory, whatever its layout.

One record a line; lists of any size; objects over several lines, or one behind the other; and
records wrapped as tools export them (`wrappers`). The bytes of a record stay as they are, and a
broken one spoils no other: records are cut at brackets and lines, not by a JSON parser. Whether a
record is JSON at all is for the reader of events to say.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

from flywheel.file_records import brackets, decoding
from flywheel.file_records.brackets import BracketScan
from flywheel.file_records.decoding import BOM, Undecodable
from flywheel.file_records.json_faults import is_utf8
from flywheel.file_records.lines import FileLines
from flywheel.file_records.wrappers import is_action, listed_in, parts_of

LONGEST = 8_000_000
"""Bytes; a longer record is not held in memory, and named as too long."""

_HEAD = 1 << 16  # bytes by which the layout is told
_LOOKED_AT = 20  # lines of them
_LAYERS = 4  # lists within wrappers within lists
_SPACE = re.compile(rb"(?:[\s,\x1e]|\xef\xbb\xbf)*")  # \x1e: JSON text sequences
_LOOSE = re.compile(rb'[^\n,{}\[\]"]+|"(?:[^"\\\n]|\\.)*"?|.', re.DOTALL)
"""What is neither a list nor an object."""
_LAID_OUT = re.compile(rb'\[\s*[{\["]|\{[ \t]*\r?\n')
_Entered = tuple[int, bytes, bytes]
"""A list: how many objects are around it, and what each record needs before and behind it."""

_CLOSING = {ord("{"): ord("}"), ord("["): ord("]")}
_SKIPPED_ACTION = "is an action line of an Elasticsearch bulk file"
_SKIPPED_EMPTY = "is an empty list"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """One record of a file."""

    line: int  # where it begins, from 1; of UTF-8, as it was unpacked
    raw: bytes  # its bytes in UTF-8, without what is around it; b"" where they are not to be had
    position: int | None = None  # among the file's records, from 1; None where a line is a record
    why: str = ""  # why it cannot be read: too long, or the file breaks off
    skipped: str = ""  # why it is no record


def records(file: BinaryIO, *, encoding: str = "", longest: int = LONGEST) -> Iterator[FileRecord]:
    """The records of a file of JSON.

    Args:
        file: at its start, compressed or not; it need not be seekable.
        encoding: see `decoding.plain`. A line that it does not know comes as its own bytes.
        longest: bytes of a record that is held in memory.

    Raises:
        FlywheelError: no encoding has that name. What else goes wrong is a record with a `why`.
    """
    plain = decoding.plain(file, encoding)
    for record in records_of(plain.pieces, longest=longest):
        yield replace(record, raw=_restored(record.raw, plain.encoding))


def _restored(raw: bytes, encoding: str) -> bytes:
    if encoding and not is_utf8(raw):
        return decoding.original(raw, encoding)
    return raw


def records_of(pieces: Iterator[bytes], *, longest: int = LONGEST) -> Iterator[FileRecord]:
    """As `records`, of pieces of UTF-8."""
    head, pieces = _head_of(pieces)
    if _is_lines(head):
        yield from _of_lines(pieces, longest)
    else:
        yield from _numbered(_Cutter(pieces, 1, longest).cut())


def _head_of(pieces: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Enough of the beginning to tell the layout; a pipe that waits is not waited for."""
    size = 0
    while True:
        head, pieces = decoding.peeked(pieces, size + 1)
        full = len(head) >= _HEAD or head.lstrip(b"\r\n").count(b"\n") > 2
        if full or len(head) <= size:
            return head, pieces
        size = len(head)


def needs_its_end(head: bytes) -> bool:
    """Whether a file that begins so can only be read when it is complete: no line is a record."""
    text = head.removeprefix(BOM).lstrip()
    return decoding.is_packed(head) or _LAID_OUT.match(text) is not None


def _is_lines(head: bytes) -> bool:
    """Whether a line is a record; else the records are cut at their brackets."""
    text = head.removeprefix(BOM).lstrip()
    if text[:1] == b"[":  # a list, or the time with which a log line starts
        return text[1:].lstrip()[:1] not in (b"{", b"[", b"]", b'"', b"")
    if text[:1] != b"{":
        return True
    lines = text.split(b"\n")[:_LOOKED_AT]
    if lines[0].rstrip().endswith((b"{", b"[", b",", b":")) and not brackets.whole(
        lines[0].rstrip(b", \r\t")
    ):
        return False  # the record goes on in the next line
    marked = (line.removeprefix(BOM) for line in lines)
    return any(line[:1] == b"{" and brackets.whole(line.rstrip(b", \r\t")) for line in marked)


def _of_lines(pieces: Iterator[bytes], longest: int) -> Iterator[FileRecord]:
    lines = FileLines(pieces, longest)
    for number, line in lines:
        if line is None:
            yield FileRecord(line=number, raw=b"", why=_too_long(longest))
            continue
        text = line.removeprefix(BOM).strip(b"\x1e \t\r\n")
        if not text:
            continue
        if text[:1] in (b"{", b"[") and text[-1:] in (b"{", b"["):  # laid out over several lines
            rest = itertools.chain([text + b"\n"], lines.rest())
            yield from _numbered(_Cutter(rest, number, longest).cut())
            break
        yield from records_of_line(line, number)
    if lines.failure:
        yield _broken_off(lines.number, lines.failure)


def records_of_line(raw: bytes, line: int = 1) -> Iterator[FileRecord]:
    """The records of one line: usually it is one.

    Args:
        raw: the line, of any bytes.
        line: its number.
    """
    text = raw.removeprefix(BOM).strip(b"\x1e \t\r\n")
    if text.endswith((b"},", b"],")):
        text = text[:-1].rstrip()
    if not text:
        return
    several = text[:1] == b"[" and text[1:].lstrip()[:1] == b"{"
    if several or (b"}{" in text and not brackets.whole(text)):
        cut = list(_Cutter(iter([text]), line, max(LONGEST, len(text))).cut())
        if all(each.raw[:1] == b"{" for each in cut):
            yield from _numbered(iter(cut))
            return
    found = list(_unfolded(FileRecord(line=line, raw=text), 0))
    yield from found if len(found) == 1 else _numbered(iter(found))


def _numbered(found: Iterator[FileRecord]) -> Iterator[FileRecord]:
    for position, record in enumerate(found, 1):
        yield replace(record, position=position)


def _unfolded(record: FileRecord, layer: int) -> Iterator[FileRecord]:
    """The records within one value: itself, where nothing is around it."""
    raw = record.raw
    if raw[:1] != b"{" or record.why:
        yield record
        return
    if is_action(raw):
        yield replace(record, skipped=_SKIPPED_ACTION)
        return
    wrapped = listed_in(raw, whole=True) if layer < _LAYERS else None
    if wrapped is None or wrapped.end < 0:
        yield from (replace(record, raw=part) for part in parts_of(raw))
        return
    within = raw[wrapped.start : wrapped.end]
    if not within.strip():
        yield replace(record, skipped=_SKIPPED_EMPTY)
        return
    line = record.line + raw.count(b"\n", 0, wrapped.start)
    cutter = _Cutter(iter([b"[" + within + b"]"]), line, len(raw) + 2)
    yield from cutter.cut(layer + 1, wrapped.before, wrapped.behind)


def _too_long(longest: int) -> str:
    return f"longer than {longest:,} bytes"


def _broken_off(line: int, failure: Undecodable) -> FileRecord:
    return FileRecord(line=line, raw=b"", why=failure.message)


class _Cutter:
    """Cuts JSON values out of bytes that come piece by piece; lists are entered."""

    def __init__(self, pieces: Iterator[bytes], line: int, longest: int) -> None:
        self._pieces = pieces
        self._longest = longest
        self._data = b""
        self._at = 0
        self._line = line  # of the byte at `_at`
        self._column = 0  # of the byte at `_at`; -1: other things than spaces are before it
        self._failure: Undecodable | None = None

    def cut(self, layer: int = 0, before: bytes = b"", behind: bytes = b"") -> Iterator[FileRecord]:
        """The records, each within `before` and `behind`."""
        entered: list[_Entered] = []
        while self._to_value():
            first = self._data[self._at : self._at + 1]
            if first == b"[" and not entered:
                entered.append((0, before, behind))
                self._go(self._at + 1)
            elif first == b"]" and entered:
                around = entered.pop()[0]
                self._go(self._at + 1)
                if around:
                    self._skip(BracketScan(self._at, around))
            elif first in (b"{", b"["):
                around_it = entered[-1][1:] if entered else (b"", b"")
                wrapped = yield from self._value(layer + len(entered), *around_it)
                if wrapped:
                    entered.append(wrapped)
            else:
                yield self._loose()
        if self._failure:
            yield _broken_off(self._line, self._failure)

    def _value(
        self, layer: int, before: bytes, behind: bytes
    ) -> Generator[FileRecord, None, _Entered | None]:
        """One list or object; returns the list to enter where the object is a wrapper."""
        scan = BracketScan(self._at)
        end = scan.end(self._data)
        while end < 0 and len(self._data) - self._at <= self._longest:
            moved = self._at
            if not self._more():
                break
            scan.at -= moved
            end = scan.end(self._data)
        if end < 0 or end - self._at > self._longest:
            return (yield from self._unfinished(scan, end, layer))
        if _CLOSING[self._data[self._at]] != self._data[end - 1]:  # a bracket is missing in it
            yield from self._salvaged(self._data[self._at : end], ended=True)
            return None
        raw = before + self._data[self._at : end] + behind
        record = FileRecord(line=self._line, raw=raw)
        self._go(end)
        yield from _unfolded(record, layer)
        return None

    def _unfinished(
        self, scan: BracketScan, end: int, layer: int
    ) -> Generator[FileRecord, None, _Entered | None]:
        """A value that is too long, or that the file breaks off."""
        data = self._data[self._at :]
        enters = data[:1] == b"{" and layer < _LAYERS
        if enters and (wrapped := listed_in(data, whole=False)):
            self._go(self._at + wrapped.start)
            return wrapped.depth, wrapped.before, wrapped.behind
        if len(data) > self._longest and len(list(_stretches(data, self._column))) == 1:
            yield FileRecord(line=self._line, raw=b"", why=_too_long(self._longest))
            self._go(end) if end >= 0 else self._skip(scan)
            return None
        yield from self._salvaged(data, ended=len(data) <= self._longest)
        return None

    def _salvaged(self, data: bytes, *, ended: bool) -> Iterator[FileRecord]:
        """The records of what is no value as a whole; the last is left where more may come."""
        stretches = list(_stretches(data, self._column))
        for stretch in stretches if ended else stretches[:-1]:
            end = BracketScan(0).end(stretch)
            text = stretch.removesuffix(BOM)
            raw, rest = (text[:end], text[end:]) if end >= 0 else (text, b"")
            yield from _unfolded(FileRecord(line=self._line, raw=raw.strip(b" \t\r\n,")), 0)
            if rest.strip(b" \t\r\n,]}"):
                yield FileRecord(line=self._line + raw.count(b"\n"), raw=rest.strip())
            self._go(self._at + len(stretch))

    def _loose(self) -> FileRecord:
        """What is neither a list nor an object, up to the next thing that may be."""
        while True:
            found = _LOOSE.match(self._data, self._at)
            assert found
            if found.end() < len(self._data) or found.end() - self._at > self._longest:
                break
            if not self._more():
                break
        record = FileRecord(line=self._line, raw=found.group().strip())
        self._go(found.end())
        return record

    def _skip(self, scan: BracketScan) -> None:
        """Go behind the bracket that the scan looks for, without holding what is skipped."""
        while (end := scan.end(self._data)) < 0:
            self._go(scan.at)
            moved = self._at
            if not self._more():
                self._go(len(self._data))
                return
            scan.at -= moved
        self._go(end)

    def _to_value(self) -> bool:
        """Go to the next byte that is not between values; whether there is one."""
        while True:
            found = _SPACE.match(self._data, self._at)
            assert found
            self._go(found.end())
            if len(self._data) - self._at >= len(BOM) or not self._more():
                return self._at < len(self._data)

    def _go(self, to: int) -> None:
        passed = self._data[self._at : to]
        lines = passed.count(b"\n")
        self._line += lines
        line = passed.rpartition(b"\n")[2] if lines else passed
        if line.strip():
            self._column = -1
        elif lines:
            self._column = len(line)
        elif self._column >= 0:
            self._column += len(line)
        self._at = to

    def _more(self) -> bool:
        """Take one more piece, and let go of what was read."""
        try:
            piece = next(self._pieces, b"")
        except Undecodable as error:
            self._failure, piece = error, b""
        if not piece:
            return False
        self._data, self._at = self._data[self._at :] + piece, 0
        return True


def _stretches(data: bytes, column: int) -> Iterator[bytes]:
    """The data, cut where a line opens a value no deeper than this one, so each may be whole."""
    depth = max(column, 0)
    opening = re.compile(rb'\n(?:\xef\xbb\xbf)?[ \t]{0,%d}(?="?[{\[])' % depth)  # ": JSON in a text
    at = 0
    for found in opening.finditer(data):
        yield data[at : found.end()]
        at = found.end()
    yield data[at:]
