"""Sums by day, of predictions and of labels: what stays when the events themselves are gone.

They are appended to in the transaction of the events, summed when they are read, and merged
into one row for each key when the parts have become many.
"""

from __future__ import annotations

from flywheel.store.columns import Connection, scalar

_MANY_PARTS = 100_000
_TABLES = {
    "daily": ("day, intent, adapter, slices", "predictions"),
    "daily_labels": ("day, predicted, truth, correct, adapter, slices", "labels"),
}


def merge_days(con: Connection) -> bool:
    """Merge the sums into one row for each key; False where there is little to merge."""
    merged = [_merge(con, table) for table in _TABLES]
    return any(merged)


def _merge(con: Connection, table: str) -> bool:
    keys, count = _TABLES[table]
    rows = scalar(con, f"SELECT count(*) FROM {table}")  # noqa: S608
    different = f"SELECT count(*) FROM (SELECT DISTINCT {keys} FROM {table})"  # noqa: S608
    if rows < _MANY_PARTS or rows < 2 * scalar(con, different):
        return False
    con.execute(
        f"CREATE TEMP TABLE merged AS SELECT {keys}, sum({count})::BIGINT AS {count} "  # noqa: S608
        f"FROM {table} GROUP BY ALL HAVING sum({count}) <> 0 ORDER BY day"
    )
    con.execute(f"DELETE FROM {table}")  # noqa: S608
    con.execute(f"INSERT INTO {table} SELECT * FROM merged")  # noqa: S608
    con.execute("DROP TABLE merged")
    return True
