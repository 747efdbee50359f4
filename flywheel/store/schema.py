"""Which tables are there: numbered SQL files, each applied once, in order, in a transaction.

What SQL cannot say of a migration is a function, named in `_CODE` and run after its file.
`schema_version` has a row for each that was applied. There is no way down: to go back, restore
a backup.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources

from flywheel.errors import StoreFailed
from flywheel.store.columns import Connection, first_row, records, scalar
from flywheel.store.join_feedback import compare_arguments_again

# Not compared by `fingerprints`: how often the database was looked at and written, and sums of
# events, which are kept in as many parts as the events came in.
_NOT_CONTENT = frozenset({"heartbeat", "redo", "daily", "daily_labels"})

_CODE = {11: compare_arguments_again}


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One numbered step from a schema to the next."""

    version: int  # 1, 2, 3 … without gaps
    name: str
    sql: str
    code: Callable[[Connection], None] | None = None  # run after `sql`, in the same transaction


def shipped() -> tuple[Migration, ...]:
    """Return the migrations of this installation, oldest first.

    Raises:
        ValueError: the numbers of the files have a gap or a repeat.
    """
    folder = resources.files("flywheel.store") / "migrations"
    found = []
    for file in folder.iterdir():
        if file.name.endswith(".sql"):
            number, name = file.name.removesuffix(".sql").split("_", 1)
            sql = file.read_text(encoding="utf-8")
            code = _CODE.get(int(number))
            found.append(Migration(version=int(number), name=name, sql=sql, code=code))
    found.sort(key=lambda migration: migration.version)
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"migrations are not numbered 1, 2, 3 …: {[m.name for m in found]}")
    return tuple(found)


def version(con: Connection) -> int:
    """Return the number of the last applied migration; 0 for an empty database."""
    con.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER, name VARCHAR)")
    return applied(con)


def applied(con: Connection) -> int:
    """Return as `version`, and write nothing: of a database that was migrated before."""
    return int(scalar(con, "SELECT coalesce(max(version), 0) FROM schema_version"))


def migrate(con: Connection, migrations: Sequence[Migration]) -> int:
    """Apply what is not applied yet and return how many that were.

    Raises:
        StoreFailed: the database was written by a newer flywheel; nothing was changed.
    """
    present = version(con)
    newest = max((migration.version for migration in migrations), default=0)
    if present > newest:
        raise StoreFailed(
            f"the database has schema version {present}, this flywheel knows {newest}",
            hint="install the flywheel that wrote it, or a newer one; or restore a backup",
        )
    missing = [migration for migration in migrations if migration.version > present]
    # What an older flywheel wrote goes up step by step; of a new file there is nothing to go
    # through, and each transaction waits for the disk.
    steps = [[migration] for migration in missing] if present else [missing]
    for step in steps:
        con.execute("BEGIN TRANSACTION")
        try:
            for migration in step:
                _apply(con, migration)
            con.execute("COMMIT")
        except BaseException:
            con.execute("ROLLBACK")
            raise
    return len(missing)


def _apply(con: Connection, migration: Migration) -> None:
    con.execute(migration.sql)
    if migration.code is not None:
        migration.code(con)
    con.execute("INSERT INTO schema_version VALUES (?, ?)", [migration.version, migration.name])


def fingerprints(con: Connection) -> dict[str, str]:
    """Return one fingerprint per table, the same for the same rows in any order.

    Two databases that went through the same events in another order, or through a crash,
    have the same fingerprints. The hash is DuckDB's own: compare within one version of it.
    """
    names = records(
        con,
        "SELECT table_name FROM duckdb_tables() WHERE NOT temporary AND NOT internal ORDER BY 1",
    )
    return {
        row["table_name"]: _fingerprint(con, row["table_name"])
        for row in names
        if row["table_name"] not in _NOT_CONTENT
    }


def _fingerprint(con: Connection, name: str) -> str:
    row = first_row(
        con, "SELECT count(*), coalesce(sum(hash(r)), 0) FROM query_table(?) AS r", [name]
    )
    assert row is not None
    return f"{row[0]}:{row[1]}"
