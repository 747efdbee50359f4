"""Lines of the spool, read one by one: those DuckDB does not take, and those that are searched."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec

from flywheel.formats.wire import RejectedEntry

_BROKEN = (msgspec.DecodeError, UnicodeError, RecursionError)


class PredictionRow(msgspec.Struct, tag_field="kind", tag="predictions", gc=False):
    """A prediction as the loader reads it: JSON is not unpacked."""

    id: str
    ts: datetime
    text: str
    intent: str
    arguments: msgspec.Raw = msgspec.Raw(b"{}")
    confidence: float | None = None
    adapter: str = ""
    latency_ms: float | None = None
    slices: msgspec.Raw = msgspec.Raw(b"{}")


class FeedbackRow(msgspec.Struct, tag_field="kind", tag="feedback", gc=False):
    """Feedback as the loader reads it."""

    id: str
    prediction_id: str
    ts: datetime
    verdict: str
    intent: str | None = None
    arguments: msgspec.Raw = msgspec.Raw(b"null")
    rater: str = ""
    rater_kind: str = "user"


SpoolRow = PredictionRow | FeedbackRow | RejectedEntry
_ROWS = msgspec.json.Decoder(SpoolRow)


def rows_of(segment: bytes) -> tuple[list[SpoolRow], list[bytes]]:
    """Return a segment's rows, and its whole lines that are unreadable.

    What follows the last newline was never acknowledged: a crash tore it.
    """
    whole = segment[: segment.rfind(b"\n") + 1]
    try:
        return _ROWS.decode_lines(whole), []
    except _BROKEN:
        return _readable(whole.split(b"\n"))


def _readable(lines: Iterable[bytes]) -> tuple[list[SpoolRow], list[bytes]]:
    rows: list[SpoolRow] = []
    damaged: list[bytes] = []
    for line in lines:
        if line:
            try:
                rows.append(_ROWS.decode(line))
            except _BROKEN:
                damaged.append(line)
    return rows, damaged
