"""Lines of a file, sent to the daemon in batches that it can hold.

A batch is at most 4 MB and 500 lines; what the daemon refuses is named by file and line. Ids make
every line idempotent, so a file that was cut off is simply sent again. Before that the first bytes
are looked at: a file that certainly holds no such lines (CSV, Parquet, a JSON list) is refused,
with the command that is meant. All else is for the daemon to judge.
"""

from __future__ import annotations

import csv
import json
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from flywheel.cli.screen import ProgressLine, remark, say
from flywheel.cli.text import clean, cut, plural, span
from flywheel.errors import FlywheelError

if TYPE_CHECKING:
    from flywheel.cli.client import DaemonClient

# What a file is, by its first bytes.

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


# Sending.

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

    sent: int = 0
    accepted: int = 0
    duplicates: int = 0
    loads: bool = False  # some lines wait to be loaded: only then are their repeats found
    rejected: list[tuple[str, int, str]] = field(default_factory=list)  # file, line, why
    generation: int | None = None

    def summary(self) -> dict[str, Any]:
        """The tally as JSON."""
        rejected = [{"file": f, "line": line, "why": why} for f, line, why in self.rejected]
        known = {"accepted": self.accepted, "duplicates": self.duplicates, "rejected": rejected}
        return known | ({} if self.generation is None else {"generation": self.generation})


@dataclass(slots=True, kw_only=True)
class _Batch:
    lines: list[bytes] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)  # of each line, in the file
    size: int = 0

    def full_with(self, line: bytes) -> bool:
        many = len(self.lines) >= BATCH_LINES
        return bool(self.lines) and (many or self.size + len(line) > BATCH_BYTES)

    def add(self, line: bytes, number: int) -> None:
        self.lines.append(line)
        self.numbers.append(number)
        self.size += len(line) + 1


class Sender:
    """Sends files to one daemon and keeps the tally."""

    def __init__(
        self, ask: DaemonClient, prepare: Prepare, query: Mapping[str, str] | None = None
    ) -> None:
        self._ask = ask
        self._prepare = prepare
        self._query = dict(
            query or {}
        )  # `new_generation` only until a batch has opened a golden generation
        self._progress = ProgressLine()
        self.tally = Tally()

    def send(self, name: str, file: IO[bytes], size: int | None) -> None:
        """Send every line of `file`.

        Args:
            name: how the file is named in what is printed.
            file: NDJSON; blank lines are skipped.
            size: bytes in all, for the estimate; None when it is not known.

        Raises:
            FlywheelError: the daemon is unreachable or refused a batch; the tally holds what
                was answered until then.
        """
        try:
            self._send(name, file, size)
        finally:
            self._progress.clear()

    def _send(self, name: str, file: IO[bytes], size: int | None) -> None:
        started = time.monotonic()
        waiting: dict[str, _Batch] = {}
        done = 0
        for number, line, read in _numbered(file):
            done += read
            if line is None:
                self._refuse(name, number, f"longer than {LINE_BYTES:,} bytes")
                continue
            try:
                route, prepared = self._prepare(line)
            except BadLine as error:
                self._refuse(name, number, str(error))
                continue
            batch = waiting.setdefault(route, _Batch())
            if batch.full_with(prepared):
                self._post(name, route, batch)
                self._progress.show(self._estimate(name, done, size, time.monotonic() - started))
                batch = waiting[route] = _Batch()
            batch.add(prepared, number)
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
        if answer.get("generation") is not None:
            tally.generation = int(answer["generation"])
            self._query = {k: v for k, v in self._query.items() if k != "new_generation"}
        for refused in answer.get("rejected") or []:
            at = int(refused.get("line") or 0)
            number = batch.numbers[at - 1] if 0 < at <= len(batch.numbers) else 0
            words = (refused.get("field"), refused.get("why"))
            self._refuse(name, number, ": ".join(str(word) for word in words if word))

    def _refuse(self, name: str, number: int, why: str) -> None:
        self.tally.rejected.append((name, number, why))

    def _estimate(self, name: str, done: int, size: int | None, seconds: float) -> str:
        text = f"{name}: {plural(self.tally.sent, 'line')}"
        if size and done:
            left = seconds * max(0, size - done) / done
            text += f", {100 * min(done, size) // size} %, about {span(left)} left"
        return text


def prepared_file(path: Path) -> tuple[IO[bytes], int | None]:
    """Open a file to be sent; returns it and its size if known.

    `-` is standard input; what gzip compressed is read as if it were not.

    Raises:
        FlywheelError: there is no such file, or it is a folder.
    """
    if str(path) == "-":
        import sys

        return sys.stdin.buffer, None
    openable(path)
    file, size = path.open("rb"), path.stat().st_size or None
    if file.peek(2)[:2] != GZIP:
        return file, size
    import gzip

    return cast("IO[bytes]", gzip.open(file)), None


def report(tally: Tally) -> None:
    """Print what became of the lines, and on standard error why some were rejected."""
    if tally.loads:
        parts = [f"{tally.accepted:,} accepted"]
        parts += [f"{tally.duplicates:,} repeated"] if tally.duplicates else []
    else:
        parts = [f"{tally.accepted:,} new", f"{tally.duplicates:,} known already"]
    parts += [f"{len(tally.rejected):,} rejected"] if tally.rejected else []
    golden = "" if tally.generation is None else f" (golden generation {tally.generation})"
    say(f"{plural(tally.sent, 'line')} sent: {', '.join(parts)}{golden}")
    if tally.loads and tally.accepted:
        say("an id that is stored already counts once: that is seen when they are loaded")
    for name, number, why in tally.rejected[:_REFUSALS_TOLD]:
        remark(f"{name}:{number}: {why}")
    more = len(tally.rejected) - _REFUSALS_TOLD
    if more > 0:
        remark(f"{plural(more, 'more line')} rejected; --json lists every one")
    if tally.rejected:
        remark("next: mend these lines and send the file again; what was taken counts once")


def _numbered(file: IO[bytes]) -> Iterator[tuple[int, bytes | None, int]]:
    """Yield (line number, line without its end or None when too long, bytes read)."""
    number = 0
    while line := file.readline(LINE_BYTES):
        number += 1
        read = len(line)
        if read == LINE_BYTES and not line.endswith(b"\n"):
            while (rest := file.readline(LINE_BYTES)) and not rest.endswith(b"\n"):
                read += len(rest)
            yield number, None, read + len(rest)
            continue
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if line.strip():
            yield number, line.strip(), read
