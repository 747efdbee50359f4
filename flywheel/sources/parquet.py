"""Events from Parquet files: a row is an event, a column `slices.channel` becomes an object.

Files are read in the order of their names, each once. So the name of a later file must sort after
the earlier ones, and a file must be renamed into the glob when it is complete. A file that cannot
be read, or a part of it, becomes one unreadable event that names it; the next is read all the same.

Options: `path`, a file or a glob; `links`: symbolic links are followed (default false).
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow
import pyarrow.parquet

from flywheel.errors import FlywheelError
from flywheel.file_records import csv_rows, decoding
from flywheel.protocols import Batch, Source
from flywheel.sources.opening import checked_links, matching, opened
from flywheel.sources.rows import checked, event_of, unreadable

Read = Callable[[BinaryIO, str, Mapping[str, Any]], Iterator[Mapping[str, Any]]]
"""The rows of an open file as events, given its path and the source's options."""

_ROWS = 5_000  # in memory at a time
_QUIET_S = 10.0  # a broken file that changed within is still being written
_FAULTS = (OSError, ValueError, OverflowError, FlywheelError, pyarrow.ArrowException)


class _NotYet(Exception):
    """The file cannot be read, and may still be written."""


def source() -> Source:
    """The built-in source `parquet`."""
    return TableFiles("parquet", _rows)


class TableFiles:
    """Files of rows, in the order of their names.

    Args:
        name: of the source, for errors.
        read: the rows of one file as events.
        options: that the source takes beside `path`.
    """

    def __init__(self, name: str, read: Read, options: Sequence[str] = ()) -> None:
        self._name = name
        self._read = read
        self._known = options
        self._options: Mapping[str, Any] = {}
        self._pattern = ""
        self._links = False  # symbolic links are followed
        self._at: tuple[str, int, bool] = ("", 0, True)  # file, rows of it that were read, all?
        self._rows: Iterator[Mapping[str, Any]] = iter(())

    def open(self, options: Mapping[str, Any], cursor: str | None) -> None:
        """Take the options and go to the row behind the cursor."""
        checked(self._name, options, ["path"], [*self._known, "links"])
        self._links = checked_links(options.get("links", False))
        decoding.checked_encoding(str(options.get("encoding", "")))
        csv_rows.checked_delimiter(str(options.get("delimiter", "")))
        self._options = options
        self._pattern = str(options["path"])
        path, row, *finished = json.loads(cursor) if cursor else ("", 0, True)
        whole = bool(finished[0]) if finished else not Path(path).exists()  # of an earlier version
        self._at = (str(path), int(row), whole)
        self._rows = iter(())
        if not whole:
            gone = [unreadable(str(path).encode(), "is gone, and was not read to its end")]
            rows = (
                self._guarded(path) if Path(path).exists() else itertools.repeat(gone[0], row + 1)
            )
            self._rows = itertools.islice(rows, self._at[1], None)

    def poll(self, limit: int, timeout: float) -> Batch | None:
        """Return the next rows; None when every file is read."""
        try:
            events = list(itertools.islice(self._rows, limit))
            while not events and (following := self._following()):
                rows = self._guarded(following)
                events = list(itertools.islice(rows, limit))
                self._at, self._rows = (following, 0, False), rows
        except _NotYet:
            return None
        if not events:
            return None
        ahead = list(itertools.islice(self._rows, 1))
        self._rows = itertools.chain(ahead, self._rows)
        self._at = (self._at[0], self._at[1] + len(events), not ahead)
        return Batch(events=events, cursor=json.dumps(self._at))

    def ack(self, cursor: str) -> None:
        """Nothing to do: the files stay as they are."""

    def close(self) -> None:
        """Let go of the open file."""
        self._rows = iter(())

    def _following(self) -> str | None:
        names = matching(self._pattern, links=self._links)
        later = (name for name in names if name > self._at[0] and not Path(name).is_dir())
        return min(later, default=None)

    def _guarded(self, path: str) -> Iterator[Mapping[str, Any]]:
        """The rows of a file, and where it breaks off, one unreadable event that names it."""
        count = 0
        try:
            with opened(path, self._pattern, links=self._links) as file:
                for event in self._read(file, path, self._options):
                    count += 1
                    yield event
        except FileNotFoundError:
            return  # it was there a moment ago, and nothing of it was read
        except _FAULTS as error:
            if not count and _may_grow(path):
                raise _NotYet from error
            behind = f" behind row {count}" if count else ""
            yield unreadable(
                path.encode(errors="replace"), f"cannot be read{behind}: {_why(error)}"
            )


def _why(error: Exception) -> str:
    if isinstance(error, FlywheelError):
        return error.message
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _may_grow(path: str) -> bool:
    try:
        return abs(time.time() - Path(path).stat().st_mtime) < _QUIET_S
    except OSError:
        return False


def _rows(
    opened_file: BinaryIO, path: str, options: Mapping[str, Any]
) -> Iterator[Mapping[str, Any]]:
    with pyarrow.parquet.ParquetFile(opened_file) as file:
        for group in range(file.num_row_groups):
            try:
                for batch in file.iter_batches(_ROWS, row_groups=[group]):
                    yield from _events(batch)
            except (OSError, pyarrow.ArrowException) as error:
                yield unreadable(path.encode(), f"row group {group} cannot be read: {error}")


def _events(batch: Any) -> Iterator[Mapping[str, Any]]:
    """The rows of a batch; a cell that has no value in Python costs its row only."""
    columns = [_in_microseconds(column) for column in batch.columns]
    batch = pyarrow.RecordBatch.from_arrays(columns, names=batch.schema.names)
    try:
        rows = batch.to_pylist()
    except _FAULTS:
        for number in range(batch.num_rows):
            try:
                yield event_of(batch.slice(number, 1).to_pylist()[0])
            except _FAULTS as error:
                yield unreadable(str(error).encode(errors="replace"), "a cell cannot be read")
        return
    yield from map(event_of, rows)


def _in_microseconds(column: Any) -> Any:
    """The column; times in nanoseconds, which Python does not have, in microseconds."""
    if pyarrow.types.is_timestamp(column.type) and column.type.unit == "ns":
        return column.cast(pyarrow.timestamp("us", column.type.tz), safe=False)
    return column
