"""A file that is read from its start to its end: compressed, in UTF-16, or one list of events."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from flywheel.file_records import decoding
from flywheel.file_records.json_faults import is_utf8
from flywheel.file_records.layouts import FileRecord, records_of
from flywheel.sources.rows import event_of_line, unreadable


class WholeFile:
    """Its records as events, in parts; open until all are read.

    Args:
        file: at its start; closed by `close`.
        path: of the file, for what is told of it.
        encoding: as `decoding.plain` takes it.
        passed: plain bytes at its start that were read already.
        changed: its time of modification, ns.
    """

    def __init__(self, file: BinaryIO, path: str, encoding: str, passed: int, changed: int) -> None:
        self._path = path
        self._changed = changed
        self._file = file
        plain = decoding.plain(self._file, encoding)
        self._read_as = plain.encoding
        self._records = records_of(_behind(plain.pieces, passed))
        self.passed = passed
        self.records = 0  # that were read
        self.ended = False

    def goes_on(self, records: int, changed: int) -> bool:
        """Whether this is the file behind so many records, and unchanged."""
        return (self.records, self._changed) == (records, changed)

    def skip(self, count: int) -> None:
        """Pass over records that were delivered before."""
        self.records += sum(1 for _ in itertools.islice(self._records, count))

    def events(self, limit: int) -> list[Mapping[str, Any]]:
        """The next records as events, `limit` at most; fewer at the end, where it closes."""
        events: list[Mapping[str, Any]] = []
        while len(events) < limit:
            record = next(self._records, None)
            if record is None:
                self.close()
                break
            self.records += 1
            if not record.skipped:
                events.append(self._event(record))
        return events

    def close(self) -> None:
        """Let go of the file."""
        self.ended = True
        self._file.close()

    def _event(self, record: FileRecord) -> Mapping[str, Any]:
        if record.why:
            where = f"{self._path}:{record.line}"
            return unreadable(where.encode(errors="replace"), f"{where}: {record.why}")
        if is_utf8(record.raw):
            return event_of_line(record.raw)
        raw = decoding.original(record.raw, self._read_as)
        return unreadable(raw, f"is not {self._read_as or 'UTF-8'}", self._read_as)


def _behind(pieces: Iterator[bytes], count: int) -> Iterator[bytes]:
    for piece in pieces:
        if count < len(piece):
            yield piece[count:]
        count = max(0, count - len(piece))
