"""Old events in Parquet files beside the database: which there are, and what is in them.

The table `archives` names each file. A file that is not named yet ends in `.arriving`; `settle`
finishes or undoes what a crash interrupted. Files that the table does not know are left alone:
they may be all that is left of a database that was set aside.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import pyarrow

from flywheel import files
from flywheel.store.columns import Connection, first_row, moment, records, scalar

Kind = Literal["predictions", "feedback"]
KINDS: tuple[Kind, ...] = ("predictions", "feedback")
FOLDER = "archive"
ARRIVING = ".arriving"
_NAME = re.compile(r"(?P<base>(?:predictions|feedback)-\d{4}-\d\d-\d\d\.\d+)\.(?P<revision>\d+)")
_FILE = re.compile(_NAME.pattern + r"\.parquet")

_KNOWN = """
    SELECT id FROM read_parquet({files}) WHERE id IN (SELECT id FROM arriving)
"""
_DAYS = "SELECT DISTINCT date_trunc('day', ts) FROM arriving WHERE ts < ?"
_TOTALS = """
    SELECT coalesce(sum(coalesce(answers, row_count)) FILTER (kind = 'predictions'), 0)::BIGINT,
        coalesce(sum(row_count) FILTER (kind = 'feedback'), 0)::BIGINT,
        count(*), max(day) + INTERVAL 1 DAY
    FROM archives
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Archived:
    """What left the tables so far."""

    predictions: int  # answers that they stand for
    feedback: int
    files: int
    before: datetime | None  # events older than this left; None: nothing did


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveFile:
    """One day of one kind."""

    kind: Kind
    day: datetime  # as stored
    name: str
    rows: int


def folder_of(con: Connection) -> Path:
    """The folder of the files, beside the database that `con` is of."""
    return Path(scalar(con, "SELECT path FROM duckdb_databases() WHERE NOT internal")).parent / (
        FOLDER
    )


def archived(con: Connection) -> Archived:
    """How much left the tables."""
    row = first_row(con, _TOTALS)
    assert row is not None
    predictions, feedback, files, before = row
    return Archived(
        predictions=predictions,
        feedback=feedback,
        files=files,
        before=None if before is None else moment(before),
    )


def listed(con: Connection, kind: Kind | None = None) -> list[ArchiveFile]:
    """The files that the table names, oldest day first."""
    rows = records(
        con,
        "SELECT kind, day, file AS name, row_count AS rows FROM archives "
        "WHERE $kind IS NULL OR kind = $kind ORDER BY day, number",
        {"kind": kind},
    )
    return [ArchiveFile(**row) for row in rows]


def place(folder: Path, name: str) -> Path | None:
    """Where a named file is; None when it is gone, or the name is none that the archive gives."""
    if not _FILE.fullmatch(name):
        return None  # a path, perhaps, of a database that somebody wrote
    for path in (folder / name, folder / f"{name}{ARRIVING}"):
        if path.is_file():
            return path
    return None


def everything(con: Connection, kind: Kind) -> str:
    """SQL of all events of a kind, in the table and in the files that are there."""
    files = paths(con, kind)
    if not files:
        return kind
    return f"(SELECT * FROM {kind} UNION ALL BY NAME {_read(files)})"  # noqa: S608


def rows_of_files(kind: Kind, files: Sequence[Path]) -> str:
    """SQL of the events in files, with the table's columns; NULL where a file is older."""
    return f"(SELECT * FROM {kind} WHERE false UNION ALL BY NAME {_read(files)})"  # noqa: S608


def _read(files: Sequence[Path]) -> str:
    return f"SELECT * FROM read_parquet({literal(files)}, union_by_name = true)"  # noqa: S608


def paths(con: Connection, kind: Kind) -> list[Path]:
    """The files of a kind that are there."""
    folder = folder_of(con)
    return [path for one in listed(con, kind) if (path := place(folder, one.name))]


def known(con: Connection, kind: Kind) -> pyarrow.ChunkedArray:
    """Ids in `arriving` that left the tables already; looked for by the day of their events."""
    none = pyarrow.chunked_array([], pyarrow.string())
    before = archived(con).before
    if before is None:
        return none
    days = {day for (day,) in con.execute(_DAYS, [before.replace(tzinfo=None)]).fetchall()}
    if not days:
        return none
    folder = folder_of(con)
    files = [one.name for one in listed(con, kind) if one.day in days]
    there = [path for name in files if (path := place(folder, name))]
    if not there:
        return none
    return con.sql(_KNOWN.format(files=literal(there))).to_arrow_table()["id"]


def literal(files: Sequence[Path]) -> str:
    """File names as a list in SQL."""
    return "[" + ", ".join("'" + str(path).replace("'", "''") + "'" for path in files) + "]"


def settle(con: Connection) -> None:
    """Finish what a crash interrupted: rename named files, delete those nobody names."""
    folder = folder_of(con)
    if not folder.is_dir():
        return
    named = {one.name for one in listed(con)}
    newest = dict(map(_parts, named))
    for path in sorted(folder.glob(f"*{ARRIVING}")):
        name = path.name.removesuffix(ARRIVING)
        if name in named:
            path.replace(folder / name)
        else:
            path.unlink()
    for path in sorted(folder.glob("*.parquet")):
        base, revision = _parts(path.name)
        if revision < newest.get(base, 0):
            path.unlink()
    files.sync(folder)


def unnamed(con: Connection) -> Iterator[str]:
    """Parquet files in the folder that the table does not know."""
    named = {one.name for one in listed(con)}
    for path in sorted(folder_of(con).glob("*.parquet")):
        if path.name not in named:
            yield path.name


def renewed(name: str) -> str:
    """The name of the next revision of a file."""
    base, revision = _parts(name)
    return f"{base}.{revision + 1}.parquet"


def _parts(name: str) -> tuple[str, int]:
    found = _NAME.match(name)
    return (found["base"], int(found["revision"])) if found else (name, 0)
