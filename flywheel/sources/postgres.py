"""Events from a PostgreSQL query, in the order of a key.

Each poll selects the rows after the last key, so the key must increase: a row that becomes visible
after a row with a higher key was read is missed. A modification time with an id
(`["changed_at", "id"]`) is a good key; where transactions are long, let the query exclude the
newest rows.

Options: `query`; `key`, a column or a list of them (default `id`); `dsn`, without a password, or
`dsn_env`, the environment variable that holds it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from flywheel.errors import FlywheelError, SourceUnavailable
from flywheel.protocols import Batch, Source
from flywheel.sources.rows import checked, event_of, from_environment, library


def source() -> Source:
    """The built-in source `postgres`."""
    return Postgres()


class Postgres:
    """One query, read page by page by its key (keyset pagination)."""

    def __init__(self) -> None:
        self._connection: Any = None
        self._query = ""
        self._key: Sequence[str] = ()
        self._at: list[str] | None = None  # the last key, as text

    def open(self, options: Mapping[str, Any], cursor: str | None) -> None:
        """Connect, read-only."""
        checked("postgres", options, ["query"], ["key", "dsn", "dsn_env"])
        key = options.get("key", "id")
        self._key = [key] if isinstance(key, str) else [str(name) for name in key]
        self._query = str(options["query"]).strip().rstrip(";")
        self._at = json.loads(cursor) if cursor else None
        dsn = str(options.get("dsn", ""))
        if options.get("dsn_env"):
            dsn = from_environment("postgres", "dsn_env", str(options["dsn_env"]))
        psycopg = library("psycopg", "postgres")
        try:
            self._connection = psycopg.connect(dsn, connect_timeout=10, autocommit=True)
            self._connection.read_only = True
        except psycopg.OperationalError as error:
            raise SourceUnavailable(f"PostgreSQL does not answer: {error}") from error

    def poll(self, limit: int, timeout: float) -> Batch | None:
        """Return the rows behind the last key; None when there are none."""
        psycopg = library("psycopg", "postgres")
        try:
            rows = self._page(psycopg, limit)
        except psycopg.OperationalError as error:
            raise SourceUnavailable(f"PostgreSQL does not answer: {error}") from error
        except psycopg.Error as error:
            raise FlywheelError(
                f"the query fails: {error}", hint="see `query` and `key` of the source"
            ) from error
        if not rows:
            return None
        self._at = list(rows[-1][: len(self._key)])
        events = [event_of(row[-1]) for row in rows]
        return Batch(events=events, cursor=json.dumps(self._at))

    def ack(self, cursor: str) -> None:
        """Nothing to do: the table stays as it is."""

    def close(self) -> None:
        """Disconnect."""
        if self._connection is not None:
            self._connection.close()

    def _page(self, psycopg: Any, limit: int) -> list[Any]:
        """Rows of (the key's columns as text, the whole row as JSON)."""
        sql = psycopg.sql
        names = [sql.SQL("q.{}").format(sql.Identifier(name)) for name in self._key]
        key = sql.SQL(", ").join(names)
        behind = sql.SQL("")
        if self._at is not None:
            values = sql.SQL(", ").join(sql.Literal(value) for value in self._at)
            behind = sql.SQL("WHERE ({}) > ({})").format(key, values)
        texts = sql.SQL(", ").join(sql.SQL("{}::text").format(name) for name in names)
        statement = sql.SQL("SELECT {}, to_jsonb(q) FROM ({}) AS q {} ORDER BY {} LIMIT {}").format(
            texts, sql.SQL(self._query), behind, key, sql.Literal(limit)
        )
        rows: list[Any] = self._connection.execute(statement).fetchall()
        return rows
