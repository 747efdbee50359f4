"""Are the rows of a backup those that were backed up? What a backup says of itself.

A backup's last event in the decision log carries a digest of every other table. It finds damage
and edits. Who can write the file can also write another digest: against that the daemon that made
the backup keeps the file's SHA-256 in its own log, and a noted tip of the log stands outside both.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from pathlib import Path
from typing import Literal

import duckdb

from flywheel.content import canonical
from flywheel.store import catalog, decisions, schema
from flywheel.store.columns import Connection, first_row, records, scalar

SEALED = "backup.sealed"
WRITTEN = "backup.written"
State = Literal["whole", "broken", "none", "other engine"]

_APART = frozenset({"heartbeat", "redo", "decision_events"})  # counts of looks; a chain itself
_WORDS = "rows {digest}, by DuckDB {engine}"
_READ = re.compile(r"rows (?P<digest>[0-9a-f]{64}), by DuckDB (?P<engine>\S+)")
_FILE = re.compile(r"sha256 (?P<digest>[0-9a-f]{64})")
_LAST = "SELECT what, because FROM decision_events ORDER BY number DESC LIMIT 1"
_HASHES = "SELECT hash FROM decision_events WHERE hash IS NOT NULL ORDER BY number"
_FILES = "SELECT because FROM decision_events WHERE what = ? AND decision IS NULL ORDER BY number"


def digest(con: Connection) -> str:
    """Return one hash over the rows of every table of flywheel's, in any order of rows.

    It is made of DuckDB's own hash: compare within one version of it.
    """
    version = schema.applied(con)
    names = sorted(name for kind, name in catalog.shipped(version) if kind == "table")
    found = {}
    for name in names:
        if name not in _APART:
            sql = (
                "SELECT count(*), coalesce(sum(hash(r)), 0), coalesce(sum(hash(r, 'seal')), 0) "
                "FROM query_table(?) AS r"
            )
            found[name] = list(map(str, first_row(con, sql, [name]) or ()))
    return hashlib.sha256(canonical([version, found]).encode()).hexdigest()


def put(con: Connection, by: str, at: datetime) -> None:
    """Seal what is in the database now; the next thing to do is to copy the file.

    Args:
        con: a write transaction.
        by: who makes the copy.
        at: when, UTC.
    """
    words = _WORDS.format(digest=digest(con), engine=duckdb.__version__)
    decisions.record_act(con, SEALED, by, words, at)


def state(con: Connection) -> State:
    """Whether a file is as it was sealed; "none": its last event is no seal.

    "other engine": another DuckDB sealed it, and the rows look otherwise to this one.
    """
    what, because = first_row(con, _LAST) or ("", "")
    said = _READ.fullmatch(because) if what == SEALED else None
    if said is None:
        return "none"
    if said["digest"] == digest(con):
        return "whole"
    return "broken" if said["engine"] == duckdb.__version__ else "other engine"


def note_copy(con: Connection, file_digest: str, by: str, at: datetime) -> None:
    """Note in the database that was copied which bytes the copy has."""
    words = f"sha256 {file_digest}, of the database whose log ends at {decisions.chain_tip(con)}"
    decisions.record_act(con, WRITTEN, by, words, at)


def noted_copies(con: Connection) -> list[str]:
    """Return the SHA-256 of each backup that this database knows it made."""
    found = [_FILE.match(because) for (because,) in con.execute(_FILES, [WRITTEN]).fetchall()]
    return [one["digest"] for one in found if one]


def links(con: Connection) -> list[str]:
    """Return the hash of each event of the decision log, oldest first."""
    return [link for (link,) in con.execute(_HASHES).fetchall()]


def is_empty(con: Connection) -> bool:
    """Whether there is nothing in a database that a seal could speak of."""
    kept = {"schema_version", "heartbeat", "redo"}
    names = [row["name"] for row in records(con, "SELECT table_name AS name FROM duckdb_tables()")]
    return not any(
        scalar(con, "SELECT count(*) FROM query_table(?)", [name])
        for name in names
        if name not in kept
    )


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file that no database of this process has open."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
