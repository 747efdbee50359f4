"""Events in: read, validated, deduplicated and stored, whichever way they came.

HTTP bodies, files (which the command line sends as HTTP bodies) and sources all use these
functions, so equal lines end in equal rows and equal rejected lines. Good lines of a batch are
stored whatever the bad ones look like; a bad line is kept with its reason. It is idempotent:
an event whose id is stored already is not stored again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from flywheel import formats, turn
from flywheel.store import Connection, events
from flywheel.store.events import RejectedEvent
from flywheel.turn import Runtime

Kind = Literal["predictions", "feedback", "samples"]


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """A line that was not stored, and why."""

    line: int  # of the batch, from 1; 0 where it did not come in a line
    field: str  # path of the field at fault; "" for the line as a whole
    why: str
    kind: str | UnsetType = UNSET  # what it was sent as, where that is not in the question


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the events of a batch."""

    accepted: int
    duplicates: int
    rejected: tuple[Rejection, ...]
    generation: int | UnsetType | None = UNSET  # of samples: the golden generation they joined
    bought: int | UnsetType = UNSET  # of samples: labels that a gate had asked for


def reading_options(runtime: Runtime) -> dict[str, Any]:
    """How this daemon reads events: the options of `formats.read_body` and `read_lines`."""
    return {
        "context_turns": runtime.config.intents.context_turns,
        "received": runtime.clock(),
        "known": {intent.name: intent for intent in runtime.intents},
        "max_line_bytes": runtime.config.api.max_line_kb * 1024,
    }


def spool_native(runtime: Runtime, kind: Kind, body: bytes, form: str) -> formats.Written | None:
    """Return the lines of the spool for a body of common native events, one a line.

    None where any event needs the general reader, `spool_lines`. It only looks at fields, which
    takes a few milliseconds for 256 KiB.
    """
    if form not in formats.USUAL:
        return None
    return formats.write_usual(kind, body, max_line_bytes=runtime.config.api.max_line_kb * 1024)


def spool_lines(runtime: Runtime, kind: Kind, body: bytes, form: str) -> formats.Written:
    """Return the lines of the spool for any body; they are not appended yet."""
    return formats.write_body(kind, body, format=form, **reading_options(runtime))


def receipt_of(written: formats.Written) -> Receipt:
    """What became of events that are in the spool now.

    The tables are not asked, so `duplicates` counts the repeats within the batch.
    """
    return Receipt(
        accepted=written.events - written.repeated,
        duplicates=written.repeated,
        rejected=_rejections(written.rejected),
    )


def accept(
    runtime: Runtime,
    kind: Kind,
    body: bytes,
    form: str = formats.AUTO,
    *,
    new_generation: bool = False,
) -> Receipt:
    """Store the events of a body in one transaction; blocks on the database.

    Args:
        runtime: whose database it is.
        kind: what the events are sent as.
        body: a JSON object, a list of them, or one a line.
        form: the format they are in, or "auto".
        new_generation: golden samples open a new generation.
    """
    parsed = formats.read_body(kind, body, format=form, **reading_options(runtime))
    with runtime.store.write() as con:
        return keep(runtime, con, kind, parsed, new_generation=new_generation)


def accept_from_source(
    runtime: Runtime, source: str, batch: Iterable[Mapping[str, Any]], cursor: str
) -> Receipt:
    """Store the events of a source and the cursor behind them in one transaction.

    Args:
        runtime: whose database it is.
        source: name of `[sources.NAME]`.
        batch: events, native or foreign, told apart by their shape.
        cursor: the source's position behind the last of them.
    """
    lines = map(msgspec.json.encode, batch)
    parsed = formats.read_lines(None, lines, **reading_options(runtime))
    with runtime.store.write() as con:
        receipt = keep(runtime, con, f"source {source}", parsed)
        events.set_source_cursor(con, source, cursor, runtime.clock())
    return receipt


def keep(
    runtime: Runtime,
    con: Connection,
    sent_as: str,
    parsed: formats.Parsed,
    *,
    new_generation: bool = False,
) -> Receipt:
    """Store parsed events in the caller's transaction, the bad lines with their reasons.

    The receipt has `generation` and `bought` where samples were sent or found.
    """
    now = runtime.clock()
    events.add_rejected(
        con,
        [
            RejectedEvent(
                kind=sent_as, line=bad.line, raw=bad.raw, field=bad.field, why=bad.why, at=now
            )
            for bad in parsed.rejected
        ],
    )
    accepted = events.add_predictions(con, parsed.predictions)
    accepted += events.add_feedback(con, parsed.feedback)
    receipt = Receipt(
        accepted=accepted,
        duplicates=len(parsed.predictions) + len(parsed.feedback) - accepted,
        rejected=_rejections(parsed.rejected),
    )
    if not parsed.samples and sent_as != "samples":
        return receipt
    rows = [
        turn.Incoming(sample=sample, answer=answer, line=parsed.lines.get(sample.id, 0))
        for sample, answer in parsed.labelled
    ]
    counted = turn.add_samples(runtime, rows, new_generation=new_generation)
    return Receipt(
        accepted=receipt.accepted + counted["accepted"],
        duplicates=receipt.duplicates + counted["duplicates"],
        rejected=(*receipt.rejected, *(Rejection(**bad) for bad in counted["contradicting"])),
        generation=counted["generation"],
        bought=counted["bought"],
    )


def retry(runtime: Runtime) -> Receipt:
    """Read the rejected lines again and store those that are valid by now, in one transaction.

    An event whose id belongs to another event stays rejected. Each rejection of the receipt says
    what the line was sent as.
    """
    accepted = duplicates = 0
    readable: list[RejectedEvent] = []
    still_rejected: list[Rejection] = []
    with runtime.store.write() as con:
        for bad in events.rejected(con):
            if bad.field == events.FIELD and bad.why == events.WHY:
                still_rejected.append(
                    Rejection(kind=bad.kind, line=0, field=bad.field, why=bad.why)
                )
                continue
            kind = bad.kind if bad.kind in formats.KINDS else None
            parsed = formats.read_lines(kind, [bad.raw.encode()], **reading_options(runtime))
            if parsed.rejected:
                still_rejected += _rejections(parsed.rejected, bad.kind)
                continue
            receipt = keep(runtime, con, bad.kind, parsed)
            accepted += receipt.accepted
            duplicates += receipt.duplicates
            readable.append(bad)
        events.forget_rejected(con, readable)
    return Receipt(accepted=accepted, duplicates=duplicates, rejected=tuple(still_rejected))


def _rejections(
    rejected: Sequence[formats.RejectedLine], kind: str | UnsetType = UNSET
) -> tuple[Rejection, ...]:
    return tuple(
        Rejection(kind=kind, line=bad.line, field=bad.field, why=bad.why) for bad in rejected
    )
