"""The redo log: every committed transaction once more, beside the database, not by its engine.

DuckDB keeps what was committed since the last checkpoint in its write-ahead log alone. So each
transaction is appended here, and is on disk, before it commits: as the statements that it ran with
what was bound to them, or as the names of the segments of the spool that it loaded. The database
holds the number of its last transaction, so after any crash `replay` knows which are missing. Each
segment begins with the number, and the tip of the decision log, that the ones before it end at.
"""

from __future__ import annotations

import base64
import json
import logging
import numbers
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow

from flywheel import files
from flywheel.errors import NO_ROOM, DiskFull, StoreFailed
from flywheel.spool import SegmentWriter, newest, segments
from flywheel.store import decisions
from flywheel.store.columns import Connection, first_row, scalar

log = logging.getLogger(__name__)

FOLDER = "redo"
NOT_APPLIED = "not-applied.ndjson"
"""Lines that could not be read or repeated; nothing reads this file, and erasure deletes it."""
SEGMENT_BYTES = 32 << 20

Step: TypeAlias = list[Any]
"""["run", SQL, bound], ["show", name, rows], ["hide", name] or ["load", names of segments]."""

_LINE = b'{"crc":"%08x","entry":%s}\n'
_HEAD = len(_LINE % (0, b"")) - 2  # bytes before the entry
_POSITION = "SELECT database, number FROM redo"
_NEXT = "UPDATE redo SET number = number + 1 RETURNING number"
_ADVANCE = "UPDATE redo SET number = ?"
_THERE = "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'redo' AND NOT internal"
_EVENTS = "SELECT count(*) FROM decision_events"
_ZSTD = pyarrow.ipc.IpcWriteOptions(compression="zstd")
_FAILED = {"event": "redo.failed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Where a database stands."""

    database: str  # its id, which it has from its first moment
    number: int  # of its last transaction; 0 before the first
    tip: str  # hash of the decision log's last event
    events: int  # of the decision log


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One transaction."""

    number: int
    steps: list[Step]
    tip: str = ""  # of the decision log, where the transaction wrote to it
    events: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Damaged:
    """A whole line that is not as it was written."""

    line: bytes


def position(con: Connection) -> Mark | None:
    """Where the database stands; None before the migration that numbers transactions."""
    if not scalar(con, _THERE):
        return None
    database, number = first_row(con, _POSITION) or ("", 0)
    tip, events = decisions.chain_tip(con), int(scalar(con, _EVENTS))
    return Mark(database=database, number=number, tip=tip, events=events)


def next_number(con: Connection) -> int:
    """Write into the open transaction which one it is, and return its number."""
    return int(scalar(con, _NEXT))


def advance(con: Connection, number: int) -> None:
    """Write into a transaction that is repeated which one it is."""
    con.execute(_ADVANCE, [number])


def writes_decisions(steps: Sequence[Step]) -> bool:
    """Whether a transaction may have added to the decision log."""
    return any(kind == "run" and "decision_events" in sql for kind, sql, *_ in steps)


class TransactionRecorder:
    """Stands where a connection does, and keeps the statements that change something."""

    def __init__(self, con: Connection) -> None:
        self._con = con
        self.steps: list[Step] = []

    def execute(self, sql: str, parameters: Any = ()) -> Connection:
        """Run one statement, as the connection does."""
        if _changes(self._con, sql):
            self.steps.append(["run", sql, _parameters(parameters)])
        return self._con.execute(sql, parameters)

    def register(self, name: str, rows: pyarrow.Table) -> Connection:
        """Show rows under a name, as the connection does."""
        self.steps.append(["show", name, _packed(rows)])
        return self._con.register(name, rows)

    def unregister(self, name: str) -> Connection:
        """Take the name away again."""
        self.steps.append(["hide", name])
        return self._con.unregister(name)

    def __getattr__(self, name: str) -> Any:
        """Everything else reads."""
        return getattr(self._con, name)


_KINDS: dict[str, bool] = {}  # whether a statement changes something, by its text
_MOST_KINDS = 4096  # a few hundred are ever run


def _changes(con: Connection, sql: str) -> bool:
    known = _KINDS.get(sql)
    if known is None:
        kinds = {one.type.name for one in con.extract_statements(sql)}
        if len(_KINDS) >= _MOST_KINDS:
            _KINDS.clear()
        known = _KINDS[sql] = not kinds <= {"SELECT", "EXPLAIN"}
    return known


def _parameters(bound: Any) -> Any:
    if isinstance(bound, Mapping):
        return {"map": {name: _cell(value) for name, value in bound.items()}}
    return [_cell(value) for value in bound]


def _cell(value: Any) -> Any:
    """A bound value as JSON; what JSON has no word for is an object of one key."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, datetime | date):
        return {"time" if isinstance(value, datetime) else "day": value.isoformat()}
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, list | tuple):
        return {"list": [_cell(one) for one in value]}
    raise TypeError(f"a {type(value).__name__} cannot be bound in a transaction that is logged")


_READ: Mapping[str, Callable[[Any], Any]] = {
    "time": datetime.fromisoformat,
    "day": date.fromisoformat,
    "bytes": base64.b64decode,
    "list": lambda values: [_read(one) for one in values],
    "map": lambda values: {name: _read(one) for name, one in values.items()},
}


def _read(cell: Any) -> Any:
    if not isinstance(cell, dict):
        return cell
    ((kind, value),) = cell.items()
    return _READ[kind](value)


def bound(parameters: Any) -> Any:
    """What was bound to a statement of a "run" step."""
    if isinstance(parameters, dict):
        return _read(parameters)
    return [_read(cell) for cell in parameters]


def _packed(rows: pyarrow.Table) -> str:
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, rows.schema, options=_ZSTD) as writer:
        writer.write_table(rows)
    return base64.b64encode(sink.getvalue()).decode()


def rows_of(packed: str) -> pyarrow.Table:
    """The rows of a "show" step."""
    with pyarrow.ipc.open_stream(base64.b64decode(packed)) as reader:
        return reader.read_all()


def line_of(what: Mark | Entry) -> bytes:
    """A line of the log, which `parsed` reads."""
    kind = "mark" if isinstance(what, Mark) else "transaction"
    body = json.dumps({kind: asdict(what)}, separators=(",", ":")).encode()
    return _LINE % (zlib.crc32(body), body)


def parsed(line: bytes) -> Mark | Entry | Damaged:
    """What a whole line says."""
    try:
        body = line[_HEAD:-2]
        if line != _LINE % (zlib.crc32(body), body):
            return Damaged(line=line)
        ((kind, fields),) = json.loads(body).items()
        return (Mark if kind == "mark" else Entry)(**fields)
    except (ValueError, TypeError, AttributeError):
        return Damaged(line=line)


class RedoLog:
    """The folder of the log. The one who writes transactions calls it; `size` may anybody."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._start()

    def _start(self) -> None:
        self.folder.mkdir(mode=0o750, exist_ok=True)
        self._closed = segments(self.folder)
        self._closed_bytes = sum(path.stat().st_size for path in self._closed)
        self._writer = SegmentWriter(self.folder, newest(self.folder))

    @property
    def size(self) -> int:
        """Bytes of all segments."""
        return self._closed_bytes + self._writer.size

    def lines(self) -> Iterator[Mark | Entry | Damaged]:
        """What the closed segments say, oldest first; a line that a crash tore was never committed.

        A torn line is the last of its segment. Where the file was cut off or overwritten later,
        what is missing shows as a gap in the numbers.
        """
        for path in self._closed:
            with path.open("rb") as file:
                for line in file:
                    if line.endswith(b"\n"):
                        yield parsed(line)

    def begin(self, mark: Mark) -> list[Path]:
        """Go on in a new segment, which begins with `mark`; returns the ones before it.

        Raises:
            DiskFull: there is no room; it goes on in the old one.
        """
        before, written = self._writer, self._writer.size
        fresh = SegmentWriter(self.folder, newest(self.folder))
        try:
            fresh.append(line_of(mark))
        except OSError as error:
            if path := fresh.end():
                path.unlink(missing_ok=True)
            raise self._failed(error) from error
        self._writer = fresh
        if ended := before.end():
            self._closed.append(ended)
            self._closed_bytes += written
        return list(self._closed)

    def append(self, entry: Entry) -> int:
        """Write a transaction; it is on disk when this returns. Returns where it begins.

        Raises:
            DiskFull: there is no room; the log is as it was.
            StoreFailed: the log cannot be written.
        """
        size = self._writer.size
        try:
            self._writer.append(line_of(entry))
        except OSError as error:
            self.retract(size)
            raise self._failed(error) from error
        return size

    def retract(self, size: int) -> None:
        """Take off the last transaction, which did not commit."""
        try:
            self._writer.cut(size)
        except OSError:  # the next transaction has the same number, and the last of them counts
            log.exception("a transaction could not be taken off the redo log", extra=_FAILED)

    def is_long(self) -> bool:
        """Whether the next transaction is for a new segment."""
        return self._writer.size >= SEGMENT_BYTES

    def remove(self, paths: Iterable[Path]) -> None:
        """Delete closed segments, whose transactions are safe in the database file."""
        for path in paths:
            self._closed_bytes -= path.stat().st_size
            path.unlink()
            self._closed.remove(path)
        files.sync(self.folder)

    def clear(self, mark: Mark) -> None:
        """Delete all that was ever logged; what was committed is in the database file.

        Raises:
            DiskFull: there is no room for the new segment; nothing was deleted.
        """
        self.remove(self.begin(mark))
        (self.folder / NOT_APPLIED).unlink(missing_ok=True)

    def keep_apart(self, lines: Sequence[bytes]) -> None:
        """Keep lines that could not be read or repeated, outside of the segments."""
        try:
            with (self.folder / NOT_APPLIED).open("ab") as file:
                file.writelines(lines)
                files.flush(file)
            files.sync(self.folder)
        except OSError as error:
            raise self._failed(error) from error

    def set_aside(self) -> Path:
        """Keep the folder under another name, which is returned, and go on in an empty one."""
        number = 1
        while (kept := self.folder.with_name(f"{self.folder.name}.before-{number}")).exists():
            number += 1
        self.end()
        files.move(self.folder, kept)
        self._start()
        return kept

    def end(self) -> None:
        """Close the open segment."""
        self._writer.end()

    def _failed(self, error: OSError) -> DiskFull | StoreFailed:
        if error.errno in NO_ROOM:
            return DiskFull(
                "the disk is full: nothing was kept", hint="make room, then send it again"
            )
        return StoreFailed(
            f"the redo log {self.folder} cannot be written: {error.strerror}",
            hint="put the folder right and restart the daemon",
        )
