"""Events that are older than wanted leave the tables, a day at a time.

The rows of a day are written to a file, and are on disk, before the transaction that names the
file and removes them is committed: after a crash at any moment each row is in the one or the
other. What stays: the sums by day, and every label with its text, which diagnosis and training
read.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from flywheel import files
from flywheel.store import archive
from flywheel.store.archive import ARRIVING, KINDS, Kind
from flywheel.store.columns import Connection, changed, scalar, stamp
from flywheel.store.database import Store

_DAY = timedelta(days=1)
_OLDEST = """
    SELECT date_trunc('day', min(ts)) FROM (
        SELECT min(ts) AS ts FROM predictions UNION ALL SELECT min(ts) FROM feedback
    )
"""
_COPY = """
    COPY (SELECT * FROM {kind} WHERE ts >= '{day}' AND ts < '{end}' ORDER BY ts)
    TO '{path}' (FORMAT parquet, COMPRESSION zstd)
"""
_ANSWERS = "SELECT sum(answers)::BIGINT FROM predictions WHERE ts >= ? AND ts < ?"
_KEPT_ANSWERS = """
    SELECT sum(coalesce(answers, 1))::BIGINT
    FROM (SELECT answers FROM predictions WHERE false UNION ALL BY NAME SELECT * FROM kept)
"""
_LABELLED = """
    SELECT count(*) FROM judged WHERE feedback_id IN (
        SELECT id FROM feedback WHERE ts >= ? AND ts < ?
    )
"""


def oldest_day(con: Connection) -> datetime | None:
    """The first day, as stored, that has an event in the tables; None when there is no event."""
    day: datetime | None = scalar(con, _OLDEST)
    return day


def archive_before(
    store: Store, before: datetime, now: datetime, stop: Callable[[], bool] = lambda: False
) -> int:
    """Move the events of all days before `before` to files; returns how many events that were.

    Each day is a transaction of its own, so that others write in between.

    Args:
        store: the open database.
        before: a midnight in UTC.
        now: told in the table.
        stop: asked before each day.

    Raises:
        DiskFull: there is no room for a file; the rows stay where they are.
    """
    moved = 0
    while not stop():
        with store.write() as con:
            archive.settle(con)
            day = oldest_day(con)
            if day is None or day >= stamp(before):
                return moved
            for kind in KINDS:
                moved += _move(con, kind, day, now)
        with store.write() as con:
            archive.settle(con)
    return moved


def _move(con: Connection, kind: Kind, day: datetime, now: datetime) -> int:
    """Write a day to a file that is not named yet, name it, and remove its rows."""
    end = day + _DAY
    where = "ts >= ? AND ts < ?"
    rows = int(scalar(con, f"SELECT count(*) FROM {kind} WHERE {where}", [day, end]))  # noqa: S608
    if not rows:
        return 0
    labelled = scalar(con, _LABELLED, [day, end]) if kind == "feedback" else 0
    answers = scalar(con, _ANSWERS, [day, end]) if kind == "predictions" else None
    number, name = _next_name(con, kind, day)
    path = archive.folder_of(con) / f"{name}{ARRIVING}"
    path.parent.mkdir(mode=0o750, exist_ok=True)
    con.execute(_COPY.format(kind=kind, day=day, end=end, path=_quoted(path)))
    files.sync(path)
    files.sync(path.parent)
    con.execute(
        "INSERT INTO archives VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [number, kind, day, name, rows, labelled, stamp(now), answers],
    )
    return changed(con, f"DELETE FROM {kind} WHERE {where}", [day, end])  # noqa: S608


def _next_name(con: Connection, kind: Kind, day: datetime) -> tuple[int, str]:
    """A number and a file name that nothing has yet."""
    number = int(scalar(con, "SELECT coalesce(max(number), 0) + 1 FROM archives"))
    folder = archive.folder_of(con)
    while any(folder.glob(f"{kind}-{day:%Y-%m-%d}.{number}.*")):  # of a database set aside
        number += 1
    return number, f"{kind}-{day:%Y-%m-%d}.{number}.0.parquet"


def rewrite(con: Connection, kind: Kind, condition: str, bound: dict[str, object]) -> int:
    """Write the files again without the rows that meet a condition; returns how many that were.

    Until `settle` after the commit, the files are there as they were.
    """
    folder, removed = archive.folder_of(con), 0
    for one in archive.listed(con, kind):
        path = archive.place(folder, one.name)
        if path is None:
            continue
        rows = f"FROM {archive.rows_of_files(kind, [path])}"
        count = int(scalar(con, f"SELECT count(*) {rows} WHERE {condition}", bound))
        if not count:
            continue
        name = archive.renewed(one.name)
        fresh = folder / f"{name}{ARRIVING}"
        con.execute(
            f"CREATE TEMP TABLE kept AS SELECT * {rows} WHERE ({condition}) IS NOT TRUE",
            bound,
        )
        con.execute(f"COPY kept TO '{_quoted(fresh)}' (FORMAT parquet, COMPRESSION zstd)")
        files.sync(fresh)
        labelled = "SELECT count(*) FROM judged WHERE feedback_id IN (SELECT id FROM kept)"
        con.execute(
            "UPDATE archives SET file = ?, row_count = ?, labelled = ?, answers = ? WHERE file = ?",
            [
                name,
                one.rows - count,
                int(scalar(con, labelled)) if kind == "feedback" else 0,
                scalar(con, _KEPT_ANSWERS) if kind == "predictions" else None,
                one.name,
            ],
        )
        con.execute("DROP TABLE kept")
        removed += count
    return removed


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
