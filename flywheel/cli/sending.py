"""Records of a file, sent to the daemon in batches that it can hold.

A batch is at most 4 MB and 500 records; what the daemon refuses is named by file and line. Ids
make every record idempotent, so a file that was cut off is simply sent again. Before that the
first bytes are looked at: a file that certainly holds no records (Parquet, a spreadsheet, a CSV
without their columns) is refused, with the command that is meant. All else is for the daemon to
judge.
"""

from __future__ import annotations

import io
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from flywheel.cli import overlapping
from flywheel.cli.screen import ProgressLine, remark, say
from flywheel.cli.text import clean, cut, plural, span
from flywheel.errors import FlywheelError
from flywheel.file_records import csv_rows, decoding
from flywheel.file_records.json_faults import NotJson, decoded, is_utf8

if TYPE_CHECKING:
    from flywheel.cli.client import DaemonClient

# What a file is, by its first bytes.

HEAD = 65_536  # bytes looked at
_SHOWN = 60  # characters of a header that are quoted
_CSV = (
    "a CSV of events has the columns text and id or intent, or prediction_id and verdict: "
    "rename its columns, or write one JSON object a line"
)
_SHEET = "save it as CSV, or export it as JSON lines"
_ARROW = "write it as Parquet, or export it as JSON lines"
_ZIP = b"PK\x03\x04"
_KINDS: tuple[tuple[bytes, str, str], ...] = (
    (b"PAR1", "Parquet", 'the source `parquet` reads it: [sources.NAME] plugin = "parquet"'),
    (_ZIP, "a ZIP archive or a spreadsheet", "unpack it, or export it as JSON lines"),
    (b"\xd0\xcf\x11\xe0", "a spreadsheet of an old Excel", _SHEET),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it"),
    (b"Rar!", "a RAR archive", "unpack it"),
    (b"SQLite format 3", "an SQLite database", "export its rows as JSON lines"),
    (b"ARROW1", "an Arrow file", _ARROW),
    (b"FEA1", "a Feather file", _ARROW),
    (b"Obj\x01", "Avro", _ARROW),
    (b"ORC", "ORC", _ARROW),
    (b"\x89HDF", "HDF5", _ARROW),
    (b"\x93NUMPY", "a NumPy array", "export it as JSON lines"),
    (b"%PDF", "a PDF", "is it the right file?"),
)
_WEB = (b"<!doctype html", b"<html", b"<?xml")
_OF_FEEDBACK = {"prediction_id", "verdict"}
_OF_PREDICTIONS = {"confidence", "adapter", "latency_ms"}
_EVENTS = {"id", "ts", "messages", "calls", *_OF_FEEDBACK, *_OF_PREDICTIONS}


@dataclass(frozen=True, slots=True, kw_only=True)
class HowToRead:
    """How a file's bytes are read, where they do not say it themselves."""

    encoding: str = ""  # its name; "": UTF-8, UTF-16 or UTF-32
    delimiter: str = ""  # of a CSV; "": the one that fits its header

    def __post_init__(self) -> None:
        decoding.checked_encoding(self.encoding)
        csv_rows.checked_delimiter(self.delimiter)


def openable(path: Path) -> None:
    """Refuse a path that is no file.

    Raises:
        FlywheelError: there is none, it is a folder, or it cannot be opened.
    """
    if path.is_dir():
        raise FlywheelError(
            f"{path} is a folder, not a file", hint=f"name the files in it: {path}/*.jsonl"
        )
    try:
        path.open("rb").close()
    except FileNotFoundError as error:
        hint = f"`ls {path.parent}` shows what is there"
        raise FlywheelError(f"{path}: no such file", hint=hint) from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise FlywheelError(f"{path} cannot be read: {why}") from error


def refuse_unsendable(
    path: Path,
    look_again: Callable[[Path, bytes], None] | None = None,
    reading: HowToRead | None = None,
) -> None:
    """Refuse a file that holds no records, and what `look_again` refuses by its first bytes.

    Raises:
        FlywheelError: what it is instead, and what to do with it.
    """
    openable(path)
    reading = reading or HowToRead()
    with path.open("rb") as file:
        head, _ = decoding.peeked(decoding.plain(file, reading.encoding).pieces, HEAD)
    refuse_unreadable(path, head, reading)
    if look_again is not None:
        look_again(path, head)


def refuse_unreadable(path: Path, head: bytes, reading: HowToRead | None = None) -> None:
    """Refuse what holds no records, by the first bytes of the text (plain, in UTF-8).

    Raises:
        FlywheelError: what it is instead, and what to do with it.
    """
    reading = reading or HowToRead()
    name, todo = _foreign(head)
    if name == "empty":
        raise FlywheelError(f"{path} is empty", hint="nothing was sent; is it the right file?")
    if name:
        raise FlywheelError(f"{path} is {name}, not JSON lines", hint=todo)
    if _csv_of_events(head, reading):
        return
    if columns := _columns(head, reading):
        shown = cut(clean(", ".join(columns)), _SHOWN)
        raise FlywheelError(f"{path} looks like CSV with the columns {shown}", hint=_CSV)


def _foreign(head: bytes) -> tuple[str, str]:
    """What a file is that holds no records, and what to do with it; ("", "") for any other."""
    if not head.strip():
        return "empty", ""
    if head[8:12] == b"DUCK":
        return "a DuckDB database", "a backup goes back with `flywheel db restore`"
    if head[257:262] == b"ustar":
        return "a tar archive", "unpack it, and name the files in it"
    if head.startswith(_ZIP) and b"xl/" in head:
        return "a spreadsheet", _SHEET
    for magic, name, todo in _KINDS:
        if head.startswith(magic):
            return name, todo
    if b"\x00" in head:
        return "binary", "is it the right file?"
    if head.lstrip()[:20].lower().startswith(_WEB):
        return "a web page or XML", "was it a page to log in?"
    return "", ""


def refuse_samples(path: Path, head: bytes) -> None:
    """Refuse samples where events are meant.

    Raises:
        FlywheelError: the first record is a sample that says no split.
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


def _columns(head: bytes, reading: HowToRead) -> tuple[str, ...]:
    """The columns of a CSV; () where the text does not look like one."""
    if head.removeprefix(decoding.BOM).lstrip()[:1] in (b"{", b"[", b"\x1e"):
        return ()
    try:
        columns = csv_rows.table(io.BytesIO(head), delimiter=reading.delimiter).columns
    except FlywheelError:
        return ()
    return columns if csv_rows.looks_like_header(columns) else ()


def _csv_of_events(head: bytes, reading: HowToRead) -> bool:
    """Whether the text is a CSV with the columns of predictions, feedback or samples."""
    names = {name.casefold() for name in _columns(head, reading)}
    return names >= _OF_FEEDBACK or ("text" in names and bool(names & {"id", "intent"}))


def _first(head: bytes) -> Mapping[str, Any]:
    """The first record's object, or a CSV's columns; empty where it is neither."""
    from flywheel.file_records.layouts import records_of  # msgspec takes long

    if columns := _columns(head, HowToRead()):
        return dict.fromkeys(columns)
    first = next(records_of(iter([head])), None)
    try:
        value = decoded(first.raw) if first else None
    except NotJson:
        return {}
    return value if isinstance(value, dict) else {}


# What of a file is sent.


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLine:
    """One record of a file, as it is sent."""

    number: int  # of its line, from 1
    position: int | None = None  # among the file's records, where several share a line
    raw: bytes = b""  # JSON without newlines
    why: str = ""  # why it is not sent: it cannot be read
    skipped: str = ""  # why it is not sent: it is no record


def lines_of(file: BinaryIO, reading: HowToRead, longest: int) -> Iterator[FileLine]:
    """Yield what a file holds, JSON or CSV.

    Raises:
        FlywheelError: of a CSV: a column occurs twice.
    """
    from flywheel.file_records.layouts import records  # msgspec takes long

    head, pieces = decoding.peeked(_pieces(file), HEAD)
    plain, _ = decoding.peeked(decoding.plain(io.BytesIO(head), reading.encoding).pieces, HEAD)
    whole = cast("BinaryIO", decoding.PiecesFile(pieces))
    if _csv_of_events(plain, reading):
        yield from _of_csv(whole, reading)
        return
    before = 0
    for record in records(whole, encoding=reading.encoding, longest=longest):
        shared = record.position is not None and record.line == before
        before = record.line
        yield FileLine(
            number=record.line,
            position=record.position if shared else None,
            raw=record.raw.replace(b"\n", b" ").replace(b"\r", b" "),
            why=record.why,
            skipped=record.skipped,
        )


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    read = getattr(file, "read1", file.read)
    while piece := read(decoding.PIECE):
        yield piece


def _of_csv(file: BinaryIO, reading: HowToRead) -> Iterator[FileLine]:
    from flywheel.sources.rows import event_of

    table = csv_rows.table(file, encoding=reading.encoding, delimiter=reading.delimiter)
    for row in table.rows:
        event = event_of(row.cells, decimal_comma=table.decimal_comma)
        raw = json.dumps(event, ensure_ascii=False).encode() if row.cells else b""
        yield FileLine(number=row.line, raw=raw, why=row.why)


BATCH_LINES = 500
BATCH_BYTES = 4_000_000
LINE_BYTES = 8_000_000
"""A longer line is refused here: it would be held in memory whole."""
_REFUSALS_TOLD = 10

Prepare = Callable[[bytes], tuple[str, bytes]]
"""From a line to the route it is sent to (predictions, feedback, samples) and what is sent."""


class BadLine(ValueError):
    """A line that is not sent; the message says why."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What became of the lines so far."""

    sent: int = 0  # records of the files, whatever became of them
    accepted: int = 0
    duplicates: int = 0  # within a batch
    loads: bool = False  # some lines wait to be loaded: only then are their repeats found
    rejected: list[tuple[str, int, str]] = field(default_factory=list)  # file, line, why
    skipped: Counter[str] = field(default_factory=Counter)  # records by why they are none
    loaded: Counter[str] = field(default_factory=Counter)  # new, known, conflicts: with `wait`
    generation: int | None = None
    learned: int = 0  # golden rows that training got at once
    overlaps: list[overlapping.Overlap] = field(default_factory=list)  # never learned

    @property
    def told(self) -> int:
        """Records of which something is known; more than `sent` where a line held several."""
        return self.accepted + self.duplicates + len(self.rejected) + self.skipped.total()

    def summary(self) -> dict[str, Any]:
        """The tally as JSON."""
        rejected = [{"file": f, "line": line, "why": why} for f, line, why in self.rejected]
        skips = [{"why": why, "count": count} for why, count in self.skipped.most_common()]
        counts = {name: getattr(self, name) for name in ("sent", "accepted", "duplicates")}
        known = {**counts, "skipped": self.skipped.total(), "skips": skips, "rejected": rejected}
        known |= self.loaded
        sometimes = {"learned": self.learned, "overlaps": self.overlaps}
        known |= {name: value for name, value in sometimes.items() if value}
        return known | ({} if self.generation is None else {"generation": self.generation})


@dataclass(slots=True, kw_only=True)
class _Batch:
    lines: list[bytes] = field(default_factory=list)
    places: list[FileLine] = field(default_factory=list)  # of each line, in the file
    size: int = 0

    def full_with(self, line: bytes) -> bool:
        many = len(self.lines) >= BATCH_LINES
        return bool(self.lines) and (many or self.size + len(line) > BATCH_BYTES)

    def add(self, line: bytes, place: FileLine) -> None:
        self.lines.append(line)
        self.places.append(place)
        self.size += len(line) + 1


class Sender:
    """Sends files to one daemon and keeps the tally."""

    def __init__(
        self, ask: DaemonClient, prepare: Prepare, query: Mapping[str, str] | None = None
    ) -> None:
        self._ask = ask
        self._prepare = prepare
        self._query = dict(query or {})  # `new_generation` until a batch has opened one
        self._progress = ProgressLine()
        self.tally = Tally()

    def send(
        self, name: str, file: BinaryIO, size: int | None, reading: HowToRead | None = None
    ) -> None:
        """Send every record of `file`.

        Args:
            name: how the file is named in what is printed.
            file: JSON however it is laid out, or CSV; compressed or not.
            size: bytes in all, for the estimate; None when it is not known.
            reading: its encoding and delimiter, where they must be said.

        Raises:
            FlywheelError: the daemon is unreachable or refused a batch; the tally holds what
                was answered until then.
        """
        try:
            self._send(name, file, size, reading or HowToRead())
        finally:
            self._progress.clear()

    def _send(self, name: str, file: BinaryIO, size: int | None, reading: HowToRead) -> None:
        started = time.monotonic()
        waiting: dict[str, _Batch] = {}
        for line in lines_of(file, reading, LINE_BYTES):
            if line.skipped:
                self.tally.sent += 1
                self.tally.skipped[line.skipped] += 1
                continue
            try:
                if line.why:
                    raise BadLine(line.why)
                route, prepared = self._prepare(line.raw)
            except BadLine as error:
                self.tally.sent += 1
                self._refuse(name, line, str(error))
                continue
            batch = waiting.setdefault(route, _Batch())
            if batch.full_with(prepared):
                self._post(name, route, batch)
                done = file.tell() if size else 0
                self._progress.show(self._estimate(name, done, size, time.monotonic() - started))
                batch = waiting[route] = _Batch()
            batch.add(prepared, line)
        for route, batch in waiting.items():
            self._post(name, route, batch)

    def stopped(self) -> None:
        """Say what was sent, for a person who pressed Ctrl-C."""
        remark(
            f"stopped: {plural(self.tally.sent, 'line')} sent, the rest was not",
            "next: send the file again; what is known already is not counted twice",
        )

    def _post(self, name: str, route: str, batch: _Batch) -> None:
        reply = self._ask.post_lines(
            route, lines=b"\n".join(batch.lines) + b"\n", query=self._query
        )
        answer: Mapping[str, Any] = reply.value
        tally = self.tally
        tally.sent += len(batch.lines)
        tally.accepted += int(answer.get("accepted") or 0)
        tally.duplicates += int(answer.get("duplicates") or 0)
        tally.loads = tally.loads or route != "samples"
        self._count_skips(answer)
        for key in ("new", "known", "conflicts"):
            if isinstance(answer.get(key), int):
                tally.loaded[key] += answer[key]
        if answer.get("generation") is not None:
            tally.generation = int(answer["generation"])
            self._query = {k: v for k, v in self._query.items() if k != "new_generation"}
        tally.learned += int(answer.get("learned") or 0)
        tally.overlaps += overlapping.of(answer, name, [place.number for place in batch.places])
        for refused in answer.get("rejected") or []:
            at = int(refused.get("line") or 0)
            if 0 < at <= len(batch.places):
                line, raw = batch.places[at - 1], batch.lines[at - 1]
            else:
                line, raw = FileLine(number=0), b""
            why = ": ".join(str(refused[key]) for key in ("field", "why") if refused.get(key))
            self._refuse(name, line, _hinted(why, raw))

    def _count_skips(self, answer: Mapping[str, Any]) -> None:
        """Count what the daemon passed over, by why."""
        named = 0
        for skip in answer.get("skips") or []:
            named += int(skip.get("count") or 1)
            why = str(skip.get("why") or "no reason given")
            self.tally.skipped[why] += int(skip.get("count") or 1)
        if (rest := int(answer.get("skipped") or 0) - named) > 0:
            self.tally.skipped["no reason given"] += rest

    def _refuse(self, name: str, line: FileLine, why: str) -> None:
        why = f"record {line.position}: {why}" if line.position else why
        self.tally.rejected.append((name, line.number, why))

    def _estimate(self, name: str, done: int, size: int | None, seconds: float) -> str:
        text = f"{name}: {plural(self.tally.sent, 'line')}"
        if size and done:
            left = seconds * max(0, size - done) / done
            text += f", {100 * min(done, size) // size} %, about {span(left)} left"
        return text


def _hinted(why: str, raw: bytes) -> str:
    """Why a line was rejected, with what is wrong with its bytes."""
    if not is_utf8(raw):
        return "is not UTF-8: name its encoding, for example --encoding cp1252 or gbk"
    if why.removesuffix(".").endswith("is not JSON"):
        try:
            decoded(raw)
        except NotJson as error:
            return str(error)
    return why


def prepared_file(path: Path) -> tuple[BinaryIO, int | None]:
    """Open a file to be sent; returns it and its size if known. `-` is standard input.

    Raises:
        FlywheelError: there is no such file, or it is a folder.
    """
    if str(path) == "-":
        import sys

        return sys.stdin.buffer, None
    openable(path)
    return path.open("rb"), path.stat().st_size or None


def report(tally: Tally) -> None:
    """Print what became of the records, and on standard error why some were rejected."""
    if tally.loads:
        parts = [f"{tally.accepted:,} accepted"]
        parts += [f"{tally.duplicates:,} repeated"] if tally.duplicates else []
    else:
        parts = [f"{tally.accepted:,} new", f"{tally.duplicates:,} known already"]
    parts += [f"{tally.skipped.total():,} skipped"] if tally.skipped else []
    parts += [f"{len(tally.rejected):,} rejected"] if tally.rejected else []
    parts += [f"{tally.learned:,} learned at once"] if tally.learned else []
    golden = "" if tally.generation is None else f" (golden generation {tally.generation})"
    several = f" ({tally.told:,} records)" if tally.told > tally.sent else ""
    say(f"{plural(tally.sent, 'line')} sent{several}: {', '.join(parts)}{golden}")
    for why, count in tally.skipped.most_common(_REFUSALS_TOLD):
        say(clean(f"{count:,} skipped: {why}"))
    if tally.loaded:
        known, conflicts = tally.loaded["known"], tally.loaded["conflicts"]
        say(
            f"loaded: {tally.loaded['new']:,} new, {known:,} known already, "
            f"{conflicts:,} with the id of another event"
        )
    elif tally.loads and tally.accepted:
        say("an id that is stored already counts once: that is seen when they are loaded")
    for name, number, why in tally.rejected[:_REFUSALS_TOLD]:
        remark(clean(f"{name}:{number}: {why}"))
    more = len(tally.rejected) - _REFUSALS_TOLD
    if more > 0:
        remark(f"{plural(more, 'more line')} rejected; --json lists every one")
    if tally.rejected:
        remark("next: mend these lines and send the file again; what was taken counts once")
