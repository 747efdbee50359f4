"""Are the objects of a database those that the migrations make?

Tables with their columns, types, defaults and constraints; views, macros, types, indexes and
sequences. A view or a macro that somebody replaced would change what every query says, and a row
that no query finds is as good as deleted. Compared are the definitions as DuckDB prints them.

Another version of DuckDB prints the same view otherwise. So a database says under which version its
views and macros were made; under another one they are made anew, whatever they were.
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import duckdb

from flywheel.errors import StoreFailed
from flywheel.store import schema
from flywheel.store.columns import Connection, first_row

STORAGE = "v1.0.0"
"""Storage format of every file: else DuckDB 2 writes what DuckDB 1 cannot read."""

log = logging.getLogger(__name__)

Objects = Mapping[tuple[str, str], str]
"""Definitions by (kind, name); the name has its schema where that is not `main`."""

_OBJECTS = """
    SELECT 'table' AS kind, schema_name, table_name, sql FROM duckdb_tables()
    WHERE database_name = current_database() AND NOT internal
    UNION ALL
    SELECT 'view', schema_name, view_name, sql FROM duckdb_views()
    WHERE database_name = current_database() AND NOT internal
    UNION ALL
    SELECT 'macro', schema_name, function_name, string_agg(
        concat(function_type, parameters::VARCHAR, parameter_types::VARCHAR, macro_definition),
        chr(10) ORDER BY parameters::VARCHAR, parameter_types::VARCHAR
    ) FROM duckdb_functions()
    WHERE database_name = current_database() AND NOT internal GROUP BY ALL
    UNION ALL
    SELECT 'type', schema_name, type_name, concat(logical_type, labels::VARCHAR)
    FROM duckdb_types() WHERE database_name = current_database() AND NOT internal
    UNION ALL
    SELECT 'index', schema_name, index_name, sql FROM duckdb_indexes()
    WHERE database_name = current_database()
    UNION ALL
    SELECT 'sequence', schema_name, sequence_name, sql FROM duckdb_sequences()
    WHERE database_name = current_database()
"""
_LONGEST_NAME = 80  # of an object that somebody else named, in a message
_NAMED = 5  # differences that a refusal names
_DEFINES = re.compile(r"CREATE (?:OR REPLACE )?(?P<kind>MACRO|VIEW) (?P<name>\w+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """An object that is not as the migrations make it."""

    kind: str  # table, view, macro, type, index, sequence
    name: str
    what: Literal["changed", "missing", "foreign"]

    def __str__(self) -> str:
        name = self.name[:_LONGEST_NAME]
        if self.what == "foreign":
            return f"the {self.kind} {name} is not flywheel's"
        return f"the {self.kind} {name} {'is missing' if self.what == 'missing' else 'was changed'}"

    @property
    def harmless(self) -> bool:
        """Whether no query of flywheel's can mean it: a table or a view of somebody's own.

        A macro or a type can stand before one of DuckDB's, and an index refuses rows.
        """
        return self.kind in ("table", "view", "sequence") and self.what == "foreign"

    @property
    def replaceable(self) -> bool:
        """Whether a migration's own words make it as it should be, without any row."""
        return self.kind in ("view", "macro") and self.what == "changed"


def objects(con: Connection) -> Objects:
    """Return what is defined in the database of `con`, but for temporary objects."""
    found = {}
    for kind, schema_name, name, sql in con.execute(_OBJECTS).fetchall():
        place = name if schema_name == "main" else f"{schema_name}.{name}"
        found[kind, place] = str(sql)
    return found


@lru_cache(maxsize=4)
def shipped(version: int) -> Objects:
    """Return what this flywheel's migrations up to `version` make, in a database in memory."""
    with closing(duckdb.connect(config={"threads": "1"})) as con:
        schema.migrate(con, schema.shipped()[:version])
        return objects(con)


@lru_cache(maxsize=4)
def shipped_from_file(version: int) -> Objects:
    """Return as `shipped` of a database that was closed and opened again.

    DuckDB 2 prints some definitions otherwise once they come from a file.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/shipped.duckdb"
        config = {"threads": "1", "storage_compatibility_version": STORAGE}
        with closing(duckdb.connect(path, config={**config})) as con:
            schema.migrate(con, schema.shipped()[:version])
        with closing(duckdb.connect(path, config={**config})) as con:
            return objects(con)


def differences(con: Connection) -> list[Difference]:
    """Compare a database with what the migrations up to its own version make."""
    found, version = objects(con), schema.applied(con)
    differing = list(_compare(found, shipped(version)))
    if any(one.what == "changed" for one in differing):
        as_written = {(one.kind, one.name) for one in _compare(found, shipped_from_file(version))}
        differing = [one for one in differing if (one.kind, one.name) in as_written]
    return differing


def _compare(found: Objects, wanted: Objects) -> Iterator[Difference]:
    for kind, name in sorted(found.keys() | wanted.keys()):
        if (kind, name) not in wanted:
            yield Difference(kind=kind, name=name, what="foreign")
        elif (kind, name) not in found:
            yield Difference(kind=kind, name=name, what="missing")
        elif found[kind, name] != wanted[kind, name]:
            yield Difference(kind=kind, name=name, what="changed")


def settle(path: Path, con: Connection) -> None:
    """Refuse a database whose objects would make queries mean something else.

    Views and macros that another version of DuckDB wrote are made anew first. Tables and views of
    somebody's own are let be: no query of flywheel's names them.

    Raises:
        StoreFailed: an object was changed, is missing, or is not flywheel's.
    """
    found = differences(con)
    elsewhere = _written_under(con) != duckdb.__version__
    if elsewhere and (names := {one.name for one in found if one.replaceable}):
        for name, sql in _definitions(schema.applied(con)).items():
            if name in names:
                con.execute(sql)
        found = differences(con)
        log.info(
            "made anew, for another DuckDB wrote them: %s",
            ", ".join(sorted(names)),
            extra={"event": "database.definitions"},
        )
    if changes := [str(one) for one in found if not one.harmless]:
        more = [f"and {len(changes) - _NAMED} more"] if len(changes) > _NAMED else []
        raise StoreFailed(
            f"the database {path} is not as flywheel makes it: "
            f"{'; '.join([*changes[:_NAMED], *more])}",
            hint="`flywheel db restore` a backup; or put back what was changed, by the SQL of "
            "flywheel/store/migrations",
        )
    if elsewhere:
        sign(con)


def sign(con: Connection) -> None:
    """Write down under which version of DuckDB the views and macros were made."""
    con.execute(f"COMMENT ON TABLE schema_version IS '{duckdb.__version__}'")


def _written_under(con: Connection) -> str | None:
    """The version of DuckDB under which the views and macros were made; None: not known."""
    sql = (
        "SELECT comment FROM duckdb_tables() "
        "WHERE table_name = 'schema_version' AND database_name = current_database()"
    )
    found = first_row(con, sql)
    return None if found is None else found[0]


def _definitions(version: int) -> dict[str, str]:
    """SQL of the views and macros as of a version of the schema, by name, in order."""
    found: dict[str, str] = {}
    with closing(duckdb.connect()) as con:
        for migration in schema.shipped()[:version]:
            for statement in con.extract_statements(migration.sql):
                if named := _DEFINES.search(statement.query):
                    found.pop(named["name"], None)
                    found[named["name"]] = _DEFINES.sub(
                        r"CREATE OR REPLACE \g<kind> \g<name>", statement.query, count=1
                    )
    return found
