"""Rows of a CSV file with a header: the delimiter found, and a bad row without its neighbours.

A quote that nobody closes swallows the rows behind it. Such a row, and every one with a wrong
number of cells, is read again line by line, so the good lines within it come through.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from flywheel.errors import FlywheelError
from flywheel.file_records import decoding
from flywheel.file_records.decoding import BOM
from flywheel.file_records.json_faults import is_utf8
from flywheel.file_records.lines import FileLines

LONGEST_CELL = 1 << 20  # characters
LONGEST_LINE = 8_000_000  # bytes
DELIMITERS = (",", ";", "\t", "|")
_NAMED = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "pipe": "|"}
_SHOWN = 60  # characters of a column's name in a header that looks like one


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvRow:
    """One row of a file."""

    line: int  # where it begins, from 1
    cells: dict[str, str] = field(default_factory=dict)  # by column; empty for a bad row
    raw: bytes = b""  # of a bad row, in the file's own encoding
    why: str = ""  # what is wrong with it


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvTable:
    """A file of rows."""

    columns: tuple[str, ...]
    delimiter: str
    rows: Iterator[CsvRow]
    encoding: str = ""  # that the file is in; "": UTF-8

    @property
    def decimal_comma(self) -> bool:
        """Whether "0,9" can be meant as a number: no comma is needed between cells."""
        return self.delimiter != ","


def table(file: BinaryIO, *, encoding: str = "", delimiter: str = "") -> CsvTable:
    """The rows of a CSV file.

    Args:
        file: at its start, compressed or not.
        encoding: its name; "" for UTF-8, or UTF-16 by its first bytes.
        delimiter: between cells; "" for the one of `DELIMITERS` that fits the header.

    Raises:
        FlywheelError: there is no header, a column occurs twice, or an option has no such value.
    """
    chosen = checked_delimiter(delimiter)
    plain = decoding.plain(file, encoding)
    head, pieces = decoding.peeked(plain.pieces, 1 << 16)
    if b"\r" in head and b"\n" not in head:
        pieces = (piece.replace(b"\r", b"\n") for piece in pieces)
    lines = FileLines(pieces, LONGEST_LINE)
    feed = iter(lines)
    text = _first_text(feed).removeprefix("\ufeff")
    if text.lower().startswith("sep=") and len(text.strip()) == 5:  # as Excel writes it
        chosen = chosen or text[4]
        text = _first_text(feed)
    chosen = chosen or sniffed(text)
    columns = header(text, chosen)
    if not any(columns):
        raise lines.failure or FlywheelError("no header is there", hint="is it a CSV file?")
    twice = next((name for name in columns if name and columns.count(name) > 1), None)
    if twice:
        raise FlywheelError(f"the column `{twice}` occurs twice", hint="rename one of them")
    csv.field_size_limit(LONGEST_CELL)
    rows = _Rows(feed, columns, chosen, plain.encoding)
    return CsvTable(
        columns=columns,
        delimiter=chosen,
        rows=itertools.chain(rows, _failed(lines)),
        encoding=plain.encoding,
    )


def _first_text(lines: Iterator[tuple[int, bytes | None]]) -> str:
    """The first line that is not blank; "" where there is none."""
    for _, line in lines:
        if line is None or line.removeprefix(BOM).strip():
            return (line or b"").decode("utf-8", "replace")
    return ""


def checked_delimiter(name: str) -> str:
    """The delimiter that an option names: one character, or `tab`, `semicolon` ….

    Raises:
        FlywheelError: it is none.
    """
    delimiter = _NAMED.get(name.casefold(), name)
    if len(delimiter) > 1 or delimiter in ('"', "\n", "\r"):
        raise FlywheelError(
            f"`{name}` is no delimiter", hint="one character, or: comma, semicolon, tab, pipe"
        )
    return delimiter


def sniffed(line: str) -> str:
    """The delimiter that cuts a header into most columns; "," where none does."""
    return max(DELIMITERS, key=lambda mark: len(header(line, mark)))


def header(line: str, delimiter: str) -> tuple[str, ...]:
    """The names of the columns in a header, without the empty ones at its end."""
    try:
        cells = next(csv.reader([line.strip("\r\n")], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return ()
    names = [cell.strip() for cell in cells]
    while names and not names[-1]:
        names.pop()
    return tuple(names)


def looks_like_header(columns: Sequence[str]) -> bool:
    """Whether names could be a header's: two at least, none of them empty or a sentence."""
    return len(columns) > 1 and all(name and len(name) <= _SHOWN for name in columns)


class _Rows:
    """The rows behind a header."""

    def __init__(
        self,
        lines: Iterator[tuple[int, bytes | None]],
        columns: tuple[str, ...],
        delimiter: str,
        encoding: str,
    ) -> None:
        self._lines = lines
        self._columns = columns
        self._delimiter = delimiter
        self._encoding = encoding
        self._taken: list[tuple[int, bytes]] = []  # lines of the row that is read
        self._too_long: list[int] = []

    def __iter__(self) -> Iterator[CsvRow]:
        reader = csv.reader(self._texts(), delimiter=self._delimiter, strict=True)
        while True:
            self._taken.clear()
            try:
                cells = next(reader)
            except StopIteration:
                break
            except csv.Error:
                cells = []
            yield from self._refused()
            if cells and not any(cells):
                continue  # a row of empty cells, as spreadsheets leave behind
            if cells and self._fits(cells, self._taken):
                yield CsvRow(line=self._taken[0][0], cells=self._named(cells))
            else:
                yield from (self._alone(*each) for each in self._taken if each[1].strip())
        yield from self._refused()

    def _texts(self) -> Iterator[str]:
        for number, line in self._lines:
            if line is None:
                self._too_long.append(number)
            else:
                self._taken.append((number, line.rstrip(b"\r")))
                yield line.decode("utf-8", "surrogateescape") + "\n"

    def _refused(self) -> Iterator[CsvRow]:
        for number in self._too_long:
            yield CsvRow(line=number, why=f"longer than {LONGEST_LINE:,} bytes")
        self._too_long.clear()

    def _alone(self, number: int, line: bytes) -> CsvRow:
        """One line that is a row by itself, or is bad."""
        text = line.decode("utf-8", "surrogateescape")
        try:
            cells = next(csv.reader([text], delimiter=self._delimiter), [])
        except csv.Error as error:
            return self._bad(number, line, str(error))
        if not is_utf8(line):
            return self._bad(number, line, "is not UTF-8; name its encoding")
        if self._fits(cells, [(number, line)]):
            return CsvRow(line=number, cells=self._named(cells))
        why = f"has {len(cells)} cells where the header has {len(self._columns)}"
        return self._bad(number, line, f"{why} (wrong cell count)")

    def _bad(self, number: int, line: bytes, why: str) -> CsvRow:
        return CsvRow(line=number, raw=decoding.original(line, self._encoding), why=why)

    def _fits(self, cells: list[str], lines: Sequence[tuple[int, bytes]]) -> bool:
        count = len(self._columns)
        many = len(cells) == count or (len(cells) > count and not any(cells[count:]))
        return many and all(is_utf8(line) for _, line in lines)

    def _named(self, cells: list[str]) -> dict[str, str]:
        return {name: cell for name, cell in zip(self._columns, cells, strict=False) if name}


def _failed(lines: FileLines) -> Iterator[CsvRow]:
    if lines.failure:
        yield CsvRow(line=lines.number, why=lines.failure.message)
