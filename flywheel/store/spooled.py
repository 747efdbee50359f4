"""The rows of the spool's segments into the tables, in the caller's transaction.

An id that is stored already is passed over, so a segment may be loaded again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from flywheel import formats
from flywheel.content import kept_text
from flywheel.records import Feedback, Prediction, Score
from flywheel.store import events, rejected, segments
from flywheel.store.columns import Connection
from flywheel.store.events import Stored
from flywheel.store.rejected import RejectedEvent

log = logging.getLogger(__name__)

_DAMAGED = {"event": "spool.damaged"}


def load(
    con: Connection, paths: Sequence[Path], read: segments.Segments | None
) -> tuple[Stored, int]:
    """Store whole segments; returns what became of the events, and how many rows there were.

    Args:
        con: a write transaction.
        paths: the segments.
        read: what `segments.read` made of them.
    """
    return load_one_by_one(con, paths) if read is None else load_whole(con, read)


def load_whole(con: Connection, read: segments.Segments) -> tuple[Stored, int]:
    """Store what DuckDB read; returns what became of the events, and how many rows there were."""
    stored = events.insert_predictions(con, read.predictions)
    stored += events.insert_feedback(con, read.feedback)
    events.insert_scores(con, read.scores)
    rejected.add(con, [_rejected(**row) for row in read.rejected])
    return stored, read.rows


def load_one_by_one(con: Connection, paths: Sequence[Path]) -> tuple[Stored, int]:
    """Store what segments hold in which a line is damaged; that line is kept as rejected."""
    rows: list[object] = []
    damaged: list[bytes] = []
    for path in paths:
        read, unreadable = formats.rows_of(path.read_bytes())
        if unreadable:
            log.error("%s: %d lines are damaged", path, len(unreadable), extra=_DAMAGED)
        rows += read
        damaged += unreadable
    stored = load_rows(con, rows)
    rejected.add(con, [_as_rejected(line) for line in damaged])
    return stored, len(rows)


def load_rows(con: Connection, rows: Sequence[object]) -> Stored:
    """Store rows of the spool in the caller's transaction."""
    records = [formats.record_of(row) for row in rows if not isinstance(row, formats.RejectedEntry)]
    stored = events.add_predictions(con, [one for one in records if isinstance(one, Prediction)])
    stored += events.add_feedback(con, [one for one in records if isinstance(one, Feedback)])
    events.add_scores(con, [one for one in records if isinstance(one, Score)])
    refused = [
        _rejected(
            row.sent_as, row.line, row.raw, row.field, row.why, row.at, row.format, row.encoding
        )
        for row in rows
        if isinstance(row, formats.RejectedEntry)
    ]
    rejected.add(con, refused)
    return stored


def _rejected(
    sent_as: str,
    line: int,
    raw: str,
    field: str,
    why: str,
    at: datetime,
    format: str,
    encoding: str,
) -> RejectedEvent:
    return RejectedEvent(
        kind=sent_as,
        line=line,
        raw=raw,
        field=field,
        why=why,
        at=at,
        format=format,
        encoding=encoding,
    )


def _as_rejected(line: bytes) -> RejectedEvent:
    raw, encoding = kept_text(line)
    return RejectedEvent(
        kind="spool",
        line=0,
        raw=raw,
        encoding=encoding,
        field="",
        why="was damaged in the spool",
        at=datetime.now(UTC),
    )
