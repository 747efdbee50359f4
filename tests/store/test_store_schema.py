from __future__ import annotations

import duckdb
import pytest

from flywheel.store import StoreFailed, open_store, schema
from flywheel.store.schema import Migration, migrate

ALL = schema.shipped()


def shape(con) -> list[tuple]:
    """Every table, view and macro with its columns."""
    columns = con.execute(
        "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal"
    ).fetchall()
    macros = con.execute(
        "SELECT function_name, macro_definition, '' FROM duckdb_functions() WHERE NOT internal"
    ).fetchall()
    return sorted([*columns, *macros])


@pytest.fixture
def con():
    opened = duckdb.connect()
    yield opened
    opened.close()


def test_the_shipped_migrations_are_numbered_without_gaps():
    assert [migration.version for migration in ALL] == list(range(1, len(ALL) + 1))


@pytest.mark.parametrize("start", range(len(ALL) + 1))
def test_every_earlier_version_reaches_the_newest(con, start):
    assert migrate(con, ALL[:start]) == start
    assert migrate(con, ALL) == len(ALL) - start
    fresh = duckdb.connect()
    migrate(fresh, ALL)
    assert shape(con) == shape(fresh)
    fresh.close()


def test_a_migration_is_applied_once(con):
    migrate(con, ALL)
    assert migrate(con, ALL) == 0
    applied = con.execute("SELECT version, name FROM schema_version ORDER BY version").fetchall()
    assert applied == [(migration.version, migration.name) for migration in ALL]


def test_opening_again_migrates_nothing(tmp_path):
    for _ in range(2):
        store = open_store(tmp_path / "flywheel.duckdb")
        with store.read() as con:
            applied = con.execute("SELECT version FROM schema_version ORDER BY 1").fetchall()
        assert applied == [(migration.version,) for migration in ALL]
        store.close()


def test_a_migration_that_fails_halfway_leaves_nothing(con):
    broken = Migration(version=1, name="broken", sql="CREATE TABLE half (a INT); SELECT * FROM no;")
    with pytest.raises(duckdb.CatalogException):
        migrate(con, [broken])
    assert schema.version(con) == 0
    assert schema.fingerprints(con) == {"schema_version": "0:0"}
    mended = Migration(version=1, name="mended", sql="CREATE TABLE half (a INT);")
    assert migrate(con, [mended]) == 1


def test_a_new_database_has_all_migrations_or_none_and_an_old_one_keeps_those_that_went_well(con):
    first = Migration(version=1, name="first", sql="CREATE TABLE one (a INT)")
    second = Migration(version=2, name="second", sql="CREATE TABLE two (a INT)")
    broken = Migration(version=3, name="broken", sql="SELECT * FROM no")
    with pytest.raises(duckdb.CatalogException):
        migrate(con, [first, second, broken])
    assert schema.version(con) == 0
    migrate(con, [first])
    with pytest.raises(duckdb.CatalogException):
        migrate(con, [first, second, broken])
    assert schema.version(con) == 2


def test_a_database_of_a_newer_flywheel_is_refused_and_unchanged(con):
    later = Migration(version=len(ALL) + 1, name="later", sql="CREATE TABLE later (a INT)")
    migrate(con, [*ALL, later])
    with pytest.raises(StoreFailed, match=rf"schema version {len(ALL) + 1}, .* knows {len(ALL)}"):
        migrate(con, ALL)


def test_no_table_has_a_key_or_an_index(con):
    migrate(con, ALL)
    assert con.execute("SELECT index_name FROM duckdb_indexes()").fetchall() == []
    constraints = con.execute("SELECT constraint_type FROM duckdb_constraints()").fetchall()
    assert constraints == []


def test_fingerprints_ignore_the_order_of_rows_and_see_every_difference(con):
    def print_of(rows):
        con.execute("CREATE OR REPLACE TABLE t (a VARCHAR, b DOUBLE)")
        for row in rows:
            con.execute("INSERT INTO t VALUES (?, ?)", row)
        return schema.fingerprints(con)["t"]

    one, two = ("歌", 1.0), ("b", None)
    assert print_of([one, two]) == print_of([two, one])
    assert len({print_of(rows) for rows in ([], [one], [one, one], [one, two], [two])}) == 5
