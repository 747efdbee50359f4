"""Events from Parquet files: a row is an event, a column `slices.channel` becomes an object.

Files are read in the order of their names, each once. So the name of a later file must sort after
the earlier ones, and a file must be renamed into the glob when it is complete.

Options: `path`, a file or a glob.
"""

from __future__ import annotations

import glob
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow
import pyarrow.parquet

from flywheel.errors import SourceUnavailable
from flywheel.protocols import Batch, Source
from flywheel.sources.rows import checked, event_of

Read = Callable[[str], Iterator[Mapping[str, Any]]]
_ROWS = 5_000  # in memory at a time


def source() -> Source:
    """The built-in source `parquet`."""
    return TableFiles("parquet", _rows)


class TableFiles:
    """Files of rows, in the order of their names.

    Args:
        name: of the source, for errors.
        read: the rows of one file as events.
    """

    def __init__(self, name: str, read: Read) -> None:
        self._name = name
        self._read = read
        self._pattern = ""
        self._at: tuple[str, int] = ("", 0)  # current file, and number of its rows read
        self._rows: Iterator[Mapping[str, Any]] = iter(())

    def open(self, options: Mapping[str, Any], cursor: str | None) -> None:
        """Take the options and go to the row behind the cursor."""
        checked(self._name, options, ["path"])
        self._pattern = str(options["path"])
        path, row = json.loads(cursor) if cursor else ("", 0)
        self._at = (str(path), int(row))
        self._rows = iter(())
        if path:
            self._rows = itertools.islice(self._opened(path), self._at[1], None)

    def poll(self, limit: int, timeout: float) -> Batch | None:
        """Return the next rows; None when every file is read."""
        try:
            events = list(itertools.islice(self._rows, limit))
            while not events and (following := self._following()):
                self._at, self._rows = (following, 0), self._opened(following)
                events = list(itertools.islice(self._rows, limit))
        except (OSError, pyarrow.ArrowException) as error:
            raise SourceUnavailable(f"{self._at[0]} cannot be read: {error}") from error
        if not events:
            return None
        self._at = (self._at[0], self._at[1] + len(events))
        return Batch(events=events, cursor=json.dumps(self._at))

    def ack(self, cursor: str) -> None:
        """Nothing to do: the files stay as they are."""

    def close(self) -> None:
        """Let go of the open file."""
        self._rows = iter(())

    def _following(self) -> str | None:
        names = glob.glob(self._pattern, recursive=True)  # noqa: PTH207  may be absolute
        return min((name for name in names if name > self._at[0]), default=None)

    def _opened(self, path: str) -> Iterator[Mapping[str, Any]]:
        return self._read(path)


def _rows(path: str) -> Iterator[Mapping[str, Any]]:
    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(_ROWS):
            yield from map(event_of, batch.to_pylist())
