"""Lines that were not taken: kept as they came, each with its reason, until a person decides.

`raw` is the line's text; where its bytes are no UTF-8 it is their base64, and `encoding` says so,
so that the line can be read again in the right encoding. Old lines go first where they exceed
`[flywheel] rejected_mb`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import pyarrow

from flywheel.content import kept_bytes
from flywheel.errors import NotFound
from flywheel.store.columns import (
    EACH,
    TEXT,
    TIME,
    WHOLE,
    Connection,
    Row,
    arriving,
    bound,
    changed,
    moment,
    records,
    scalar,
    stamp,
    table,
)

_COLUMNS = pyarrow.schema(
    {
        "kind": TEXT,
        "line": WHOLE,
        "raw": TEXT,
        "field": TEXT,
        "why": TEXT,
        "happened_at": TIME,
        "format": TEXT,
        "encoding": TEXT,
    }
)


def rejected_id(kind: str, raw: str, field: str, why: str) -> str:
    """SQL of a line's id: equal for the same line, sent as the same, for the same reason."""
    return f"'r-' || substr(md5(concat_ws(chr(31), {kind}, {raw}, {field}, {why})), 1, 12)"


_ADD = f"""
    INSERT INTO rejected BY NAME
    SELECT * EXCLUDE (position), {rejected_id("kind", "raw", "field", "why")} AS id
    FROM arriving AS a
    WHERE NOT EXISTS (
        SELECT 1 FROM rejected AS r
        WHERE r.kind = a.kind AND r.raw = a.raw AND r.field = a.field AND r.why = a.why
    )
    QUALIFY row_number() OVER (PARTITION BY kind, raw, field, why ORDER BY position) = 1
    ORDER BY position
"""  # noqa: S608
_LIST = """
    SELECT * FROM rejected
    WHERE ($kind IS NULL OR kind = $kind) AND ($text IS NULL OR contains(why, $text))
    ORDER BY happened_at DESC, line, id LIMIT $most
"""
_REASONS = """
    SELECT kind, format, field, why, count(*) AS lines, max(happened_at) AS latest
    FROM rejected GROUP BY ALL ORDER BY lines DESC, why LIMIT $most
"""
_OVER = """
    DELETE FROM rejected WHERE rowid IN (
        SELECT rowid FROM rejected
        QUALIFY sum(strlen(raw)) OVER (ORDER BY happened_at DESC, rowid DESC) > ?
    )
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedEvent:
    """A line that is no event, kept as it came for the person who sent it."""

    kind: Literal["predictions", "feedback", "samples"] | str  # what it was sent as
    line: int  # in its batch, from 1
    raw: str  # the text, or base64 where `encoding` says so
    field: str  # the field at fault; "" for the line as a whole
    why: str
    at: datetime
    format: str = ""  # it was read as; "" for none
    encoding: str = ""  # "base64" where the bytes are no UTF-8
    id: str = ""  # given by the store

    @property
    def content(self) -> bytes:
        """The line's bytes as they came."""
        return kept_bytes(self.raw, self.encoding)


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedReason:
    """How many lines were rejected for one reason."""

    kind: str
    format: str
    field: str
    why: str
    lines: int
    latest: datetime


def add(con: Connection, lines: Sequence[RejectedEvent]) -> int:
    """Keep lines that are no events and return how many were new; the same line counts once."""
    if not lines:
        return 0
    with arriving(con, table(_COLUMNS, map(_cells, lines))):
        return changed(con, _ADD)


def listed(
    con: Connection, *, kind: str | None = None, text: str | None = None, most: int = 1_000_000
) -> list[RejectedEvent]:
    """Return rejected lines, newest first.

    Args:
        con: the database.
        kind: what they were sent as; None: anything.
        text: that the reason must hold; None: any reason.
        most: lines.
    """
    rows = records(con, _LIST, {"kind": kind, "text": text, "most": most})
    return [_event(row) for row in rows]


def one(con: Connection, line_id: str) -> RejectedEvent:
    """Return a rejected line.

    Raises:
        NotFound: there is none of this id.
    """
    rows = records(con, "SELECT * FROM rejected WHERE id = ?", [line_id])
    if not rows:
        raise NotFound(
            f"no rejected line is called {line_id}", hint="`flywheel rejected list` shows them"
        )
    return _event(rows[0])


def reasons(con: Connection, most: int = 50) -> list[RejectedReason]:
    """Return the reasons with their lines, most frequent first."""
    return [
        RejectedReason(**{**row, "latest": moment(row["latest"])})
        for row in records(con, _REASONS, {"most": most})
    ]


def forget(con: Connection, ids: Sequence[str]) -> int:
    """Delete lines by id and return how many there were."""
    return changed(con, f"DELETE FROM rejected WHERE id IN ({EACH})", [bound(ids)]) if ids else 0  # noqa: S608


def trim(con: Connection, most_bytes: int) -> int:
    """Delete the oldest lines above a size and return how many went."""
    size = scalar(con, "SELECT coalesce(sum(strlen(raw)), 0) FROM rejected")
    return changed(con, _OVER, [most_bytes]) if size > most_bytes else 0


def drop_before(con: Connection, before: datetime) -> int:
    """Delete the lines that came before a time and return how many there were."""
    return changed(con, "DELETE FROM rejected WHERE happened_at < ?", [stamp(before)])


def _cells(line: RejectedEvent) -> tuple[object, ...]:
    at = stamp(line.at)
    return line.kind, line.line, line.raw, line.field, line.why, at, line.format, line.encoding


def _event(row: Row) -> RejectedEvent:
    cells = {
        name: row[name] or "" for name in ("kind", "raw", "field", "why", "format", "encoding")
    }
    return RejectedEvent(
        **cells, line=row["line"], at=moment(row["happened_at"]), id=row["id"] or ""
    )
