"""How far each source of events has been read.

The cursor is written in the transaction that writes the events it stands behind, so a restart
repeats at most what was never committed.
"""

from __future__ import annotations

from datetime import datetime

from flywheel.store.columns import Connection, scalar, stamp

_GET = "SELECT cursor FROM source_cursors WHERE name = ?"
_FORGET = "DELETE FROM source_cursors WHERE name = ?"
_PUT = "INSERT INTO source_cursors (name, cursor, moved_at) VALUES (?, ?, ?)"


def cursor(con: Connection, name: str) -> str | None:
    """The position behind the last committed event of `[sources.NAME]`; None before the first."""
    found = scalar(con, _GET, [name])
    return None if found is None else str(found)


def set_cursor(con: Connection, name: str, cursor: str, at: datetime) -> None:
    """Move the source to `cursor`; call it in the write transaction that adds the events."""
    con.execute(_FORGET, [name])
    con.execute(_PUT, [name, cursor, stamp(at)])
