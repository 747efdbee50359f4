"""Events in: read, validated, deduplicated and stored, whichever way they came.

HTTP bodies, files (which the command line sends as HTTP bodies) and sources all use these
functions, so equal lines end in equal rows and equal rejected lines. Good lines of a batch are
stored whatever the bad ones look like; a bad line is kept with its reason. It is idempotent:
an event whose id is stored already is not stored again.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from flywheel import formats, turn
from flywheel.config.tables import time_zone
from flywheel.content import BASE64, kept_text
from flywheel.errors import Refused
from flywheel.formats import LineTally, Parsed, SkippedLines
from flywheel.formats.dispatch import MALFORMED
from flywheel.formats.reading import RejectedLine, merged
from flywheel.formats.verdicts import counted
from flywheel.records import Sample
from flywheel.score_rules import rule_text
from flywheel.sources.rows import UNREADABLE
from flywheel.store import Connection, decisions, events, rejected, scores
from flywheel.store.events import Stored
from flywheel.store.rejected import RejectedEvent
from flywheel.turn import Runtime

Kind = Literal["predictions", "feedback", "samples"]


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """A line that was not stored, and why."""

    line: int  # of the batch, from 1; 0 where it did not come in a line
    field: str  # path of the field at fault; "" for the line as a whole
    why: str
    kind: str | UnsetType = UNSET  # what it was sent as, where that is not in the question
    format: str | UnsetType = UNSET  # it was read as


class Overlap(msgspec.Struct, frozen=True, kw_only=True):
    """A sample that is never learned, since it is near a sample held out."""

    line: int  # of the batch, from 1, of the sample to learn; 0: it was there before
    sample: str  # its id
    intent: str
    near_line: int  # of the sample held out; 0: it was there before
    near: str  # its id
    near_intent: str  # "" for a caller who may not decide
    split: str  # golden, fresh or dev
    similarity: float  # word-set Jaccard, 0..1
    text: str  # of the sample held out; "" likewise


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the lines of a batch: accepted, duplicates, rejected and skipped are all.

    The tables are asked only where somebody waits for it. Otherwise `duplicates` are the repeats
    within the batch, and what is known already is counted when the lines are loaded.
    """

    accepted: int
    duplicates: int
    rejected: tuple[Rejection, ...]
    skipped: int = 0
    skips: tuple[SkippedLines, ...] = ()  # the reasons
    new: int | UnsetType = UNSET  # of the events, where the tables were asked
    known: int | UnsetType = UNSET  # stored already
    conflicts: int | UnsetType = UNSET  # another event is stored under the id
    generation: int | UnsetType | None = UNSET  # of samples: the golden generation they joined
    bought: int | UnsetType = UNSET  # of samples: labels that a gate had asked for
    learned: int | UnsetType = UNSET  # of samples: golden rows that training got at once, if any
    overlaps: tuple[Overlap, ...] | UnsetType = UNSET  # of samples, where there are any


def reading_options(runtime: Runtime) -> dict[str, Any]:
    """How this daemon reads events: the options of `formats.read_body` and `read_lines`."""
    return {
        "context_turns": runtime.config.intents.context_turns,
        "received": runtime.clock(),
        "known": {intent.name: intent for intent in runtime.intents},
        "max_line_bytes": runtime.config.api.max_line_kb * 1024,
        "scores": runtime.config.feedback.scores,
        "zone": time_zone(runtime.config.flywheel.zone),
    }


def spool_native(runtime: Runtime, kind: Kind, body: bytes, form: str) -> formats.Written | None:
    """Return the lines of the spool for a body of common native events, one a line.

    None where any event needs the general reader, `spool_lines`. It only looks at fields, which
    takes a few milliseconds for 256 KiB.
    """
    if form not in formats.USUAL:
        return None
    limit = runtime.config.api.max_line_kb * 1024
    return formats.write_usual(kind, body, received=runtime.clock(), max_line_bytes=limit)


def spool_lines(runtime: Runtime, kind: Kind, body: bytes, form: str) -> formats.Written:
    """Return the lines of the spool for any body; they are not appended yet."""
    return formats.write_body(kind, body, format=form, **reading_options(runtime))


def receipt_of(written: formats.Written) -> Receipt:
    """What became of events that are in the spool now."""
    return Receipt(
        accepted=written.accepted,
        duplicates=written.repeated,
        rejected=_rejections(written.rejected),
        skipped=sum(each.count for each in written.skipped),
        skips=written.skipped,
    )


def accept(
    runtime: Runtime,
    kind: Kind,
    body: bytes,
    form: str = formats.AUTO,
    *,
    by: str,
    new_generation: bool = False,
    may_give: Callable[[Sequence[Sample]], None] = lambda samples: None,
) -> Receipt:
    """Store the events of a body in one transaction; blocks on the database.

    Args:
        runtime: whose database it is.
        kind: what the events are sent as.
        body: a JSON object, a list of them, or one a line.
        form: the format they are in, or "auto".
        by: who sent them.
        new_generation: golden samples open a new generation.
        may_give: raises where the sender may not give one of these samples; then nothing is kept.
    """
    options = {"format": form, **reading_options(runtime)}
    tally, parsed = _tallied(formats.parsed_records(formats.body_records(body), kind, **options))
    may_give(parsed.samples)
    with runtime.store.write() as con:
        return keep(runtime, con, kind, parsed, tally, by=by, new_generation=new_generation)


def accept_from_source(
    runtime: Runtime, source: str, batch: Iterable[Mapping[str, Any]], cursor: str
) -> Receipt:
    """Store the events of a source and the cursor behind them in one transaction.

    An event that is no JSON, whatever it holds, is rejected with its reason: nothing that a plug-in
    hands on may stop its source.

    Args:
        runtime: whose database it is.
        source: name of `[sources.NAME]`.
        batch: events, native or foreign, told apart by their shape.
        cursor: the source's position behind the last of them.
    """
    kind = f"{_SOURCE}{source}"
    read = read_source_events(batch, may_give=_may_give(runtime, kind), **reading_options(runtime))
    tally, parsed = _tallied(read)
    with runtime.store.write() as con:
        receipt = keep(runtime, con, kind, parsed, tally, by=kind)
        events.set_source_cursor(con, source, cursor, runtime.clock())
    return receipt


_SOURCE = "source "
"""What lines of a source were sent as: this, and its name."""
NO_SAMPLES = "is a sample, and this source gives none: `samples = true` in its table lets it"


def _may_give(runtime: Runtime, sent_as: str) -> bool:
    """Whether what was sent as this may hold samples: of a source, where its table says so."""
    if not sent_as.startswith(_SOURCE):
        return True
    name = sent_as.removeprefix(_SOURCE)
    return name in runtime.config.sources and runtime.config.sources[name].samples


def _without_samples(number: int, raw: bytes, parsed: Parsed) -> Parsed:
    """The line rejected where it holds samples: whoever writes into a source's file could choose
    what is judged by."""
    if not parsed.samples:
        return parsed
    text, encoding = kept_text(raw)
    return _one_rejected(number, text, encoding, NO_SAMPLES)


def read_source_events(
    batch: Iterable[Any], *, may_give: bool = True, **options: Any
) -> Iterator[tuple[int, Parsed]]:
    """Yield what each event of a source says with its number; one that is no JSON is rejected.

    Args:
        batch: the events.
        may_give: samples are taken; else they are rejected.
        options: of `formats.parsed_lines`.
    """
    for number, event in enumerate(batch, 1):
        if isinstance(event, Mapping) and UNREADABLE & event.keys():
            yield number, _unreadable(number, event)
            continue
        try:
            line = msgspec.json.encode(event)
        except Exception as error:  # noqa: BLE001  a stranger's event may hold anything
            why = f"cannot be written as JSON: {type(error).__name__}: {_brief(error)}"
            raw = ascii(event)[:_SHOWN] if not isinstance(error, RecursionError) else ""
            yield number, _one_rejected(number, raw, "", why)
            continue
        for place, parsed in formats.parsed_lines([(number, line)], None, **options):
            yield place, parsed if may_give else _without_samples(place, line, parsed)


_SHOWN = 2_000  # characters of an event that is no JSON


def _brief(error: Exception) -> str:
    return str(error).split("\n", 1)[0][:200]


def _unreadable(number: int, event: Mapping[str, Any]) -> Parsed:
    """A line whose bytes a source could not read, as they came."""
    why = str(event.get("why") or "cannot be read")
    raw = str(event.get("unreadable_base64") or event.get("unreadable") or "")
    if "unreadable_base64" not in event:
        return _one_rejected(number, raw.encode("utf-8", "backslashreplace").decode(), "", why)
    try:
        text, encoding = kept_text(base64.b64decode(raw, validate=True))
    except (binascii.Error, ValueError):
        text, encoding = raw, ""
    return _one_rejected(number, text, encoding, why)


def _one_rejected(number: int, raw: str, encoding: str, why: str) -> Parsed:
    line = RejectedLine(
        line=number, raw=raw, field="", why=why, format=formats.AUTO, encoding=encoding
    )
    return Parsed(rejected=(line,))


def _tallied(lines: Iterable[tuple[int, Parsed]]) -> tuple[LineTally, Parsed]:
    """What became of each line, and what they say together."""
    tally = LineTally()
    parts = []
    for number, parsed in lines:
        tally.read(number, parsed)
        parts.append(parsed)
    return tally, merged(parts)


def keep(
    runtime: Runtime,
    con: Connection,
    sent_as: str,
    parsed: Parsed,
    tally: LineTally,
    *,
    by: str,
    new_generation: bool = False,
) -> Receipt:
    """Store parsed events in the caller's transaction, the bad lines with their reasons.

    The receipt has `generation` and `bought` where samples were sent or found.
    """
    now = runtime.clock()
    rejected.add(con, [_kept_line(sent_as, bad, now) for bad in parsed.rejected])
    stored = events.add_predictions(con, parsed.predictions)
    sent = [one for one in parsed.feedback if not one.score and one.rater != MALFORMED]
    derived = [one for one in parsed.feedback if one.score or one.rater == MALFORMED]
    events.add_feedback(con, derived)  # which nobody sent, and nobody counts
    stored += events.add_feedback(con, sent)
    stored += events.add_scores(con, parsed.scores)
    receipt = msgspec.structs.replace(
        _read(parsed, tally), new=stored.new, known=stored.known, conflicts=stored.conflicts
    )
    if not parsed.samples and sent_as != "samples":
        return receipt
    rows = [
        turn.Incoming(sample=sample, answer=answer, line=parsed.lines.get(sample.id, 0))
        for sample, answer in parsed.labelled
    ]
    imported = turn.add_samples(runtime, rows, by=by, new_generation=new_generation)
    return msgspec.structs.replace(
        receipt,
        accepted=imported["accepted"],
        duplicates=imported["duplicates"],
        rejected=(*receipt.rejected, *(Rejection(**bad) for bad in imported["contradicting"])),
        new=stored.new + imported["accepted"],
        known=stored.known + imported["duplicates"],
        generation=imported["generation"],
        bought=imported["bought"],
        learned=imported["learned"] or UNSET,
        overlaps=tuple(Overlap(**pair) for pair in imported["overlaps"]) or UNSET,
    )


def _read(parsed: Parsed, tally: LineTally) -> Receipt:
    """What became of the lines as such."""
    return Receipt(
        accepted=tally.accepted,
        duplicates=tally.repeated,
        rejected=_rejections(parsed.rejected),
        skipped=sum(each.count for each in tally.skipped),
        skips=tally.skipped,
    )


def _kept_line(sent_as: str, bad: RejectedLine, now: Any) -> RejectedEvent:
    return RejectedEvent(
        kind=sent_as,
        line=bad.line,
        raw=bad.raw,
        field=bad.field,
        why=bad.why,
        at=now,
        format=bad.format,
        encoding=bad.encoding,
    )


def retry(
    runtime: Runtime, lines: Sequence[RejectedEvent] | None = None, encoding: str = "", *, by: str
) -> Receipt:
    """Read rejected lines again and store those that are valid by now, in one transaction.

    An event whose id belongs to another event stays rejected. Each rejection of the receipt says
    what the line was sent as.

    Args:
        runtime: whose database it is.
        lines: which; None: all of them.
        encoding: of lines that are no UTF-8; "" leaves them rejected. Where no lines are named, a
            line stays rejected that another encoding may have written.
        by: who asks for it.

    Raises:
        Refused: there is no such encoding.
    """
    skipped = 0
    stored = Stored()
    readable: list[str] = []
    still_rejected: list[Rejection] = []
    options = reading_options(runtime)
    with runtime.store.write() as con:
        for bad in rejected.listed(con) if lines is None else lines:
            if stays := _stays_rejected(bad, encoding, named=lines is not None):
                still_rejected.append(stays)
                continue
            tally, parsed = _again(runtime, bad, encoding, options)
            if parsed.rejected:
                still_rejected += _rejections(parsed.rejected, bad.kind)
                first = parsed.rejected[0]
                rejected.forget(con, [bad.id])  # it stays as it came, with the reason of today
                rejected.add(con, [dataclasses.replace(bad, field=first.field, why=first.why)])
                continue
            receipt = keep(runtime, con, bad.kind, parsed, tally, by=by)
            skipped += receipt.skipped
            stored += _stored(receipt)
            readable.append(bad.id)
        rejected.forget(con, readable)
        if readable:
            because = f"{len(readable)} lines were taken"
            decisions.record_act(con, "rejected.retried", by, because, runtime.clock())
    return Receipt(
        accepted=stored.new,
        duplicates=stored.known,
        rejected=tuple(still_rejected),
        skipped=skipped,
        conflicts=stored.conflicts,
    )


def _again(
    runtime: Runtime, bad: RejectedEvent, encoding: str, options: Mapping[str, Any]
) -> tuple[LineTally, Parsed]:
    """Read a rejected line again; a sample whose sender may send events alone stays rejected."""
    kind = bad.kind if bad.kind in formats.KINDS else None
    raw = _in_utf8(bad, encoding)
    tally, parsed = _tallied(formats.parsed_lines(formats.numbered([raw]), kind, **options))
    if parsed.samples and bad.kind in ("predictions", "feedback"):
        why = f"is a sample, yet was sent as {bad.kind}; import it with `flywheel samples import`"
        line = RejectedLine(line=bad.line, raw=bad.raw, field="", why=why, format=bad.format)
        return tally, Parsed(rejected=(line,))
    return tally, parsed if _may_give(runtime, bad.kind) else _without_samples(1, raw, parsed)


def recount_scores(runtime: Runtime) -> int:
    """Count stored scores anew whose rule changed since; returns how many names that were."""
    rules = runtime.config.feedback.scores
    with runtime.store.write() as con:
        today = {
            (each.source, each.name): rule_text(each.source, each.name, rules) or ""
            for each in scores.seen(con)
        }
        return scores.recount(con, today, lambda score: counted(score, rules))


def _stored(receipt: Receipt) -> Stored:
    counts = {name: getattr(receipt, name) for name in ("new", "known", "conflicts")}
    return Stored(**{name: count for name, count in counts.items() if count is not UNSET})


def _stays_rejected(bad: RejectedEvent, encoding: str, *, named: bool) -> Rejection | None:
    """Why a line is not read again: its id is another event's, or another encoding is likelier."""
    field, why = bad.field, bad.why
    if (field, why) == (events.FIELD, events.WHY):
        return Rejection(kind=bad.kind, line=0, field=field, why=why)
    if not named and _may_be_of_two_bytes(bad, encoding):
        why = f"may be no {encoding}: {_AMBIGUOUS}"
        return Rejection(kind=bad.kind, line=0, field="", why=why)
    return None


_HIGH_BYTES = re.compile(rb"[\x80-\xff]+")
_AMBIGUOUS = "its bytes come in pairs, as gbk writes them; name its id to read it so anyway"


def _may_be_of_two_bytes(bad: RejectedEvent, encoding: str) -> bool:
    """Whether an encoding of single bytes is named, and the line looks like one of two bytes.

    An encoding of single bytes reads nearly everything, so it cannot refuse a line that is not in
    it; of two bytes such as GBK, EUC or Big5 both are high for nearly all signs.
    """
    if not encoding or bad.encoding != BASE64 or not _is_of_single_bytes(encoding):
        return False
    runs = _HIGH_BYTES.findall(bad.content)
    return all(len(run) % 2 == 0 and min(run) >= 0xA1 for run in runs)


def _is_of_single_bytes(encoding: str) -> bool:
    try:
        return all(len(sign.encode(encoding, "replace")) == 1 for sign in "é歌")
    except LookupError:
        return False  # said where it is read


def _in_utf8(bad: RejectedEvent, encoding: str) -> bytes:
    """The line's bytes, turned into UTF-8 where they are in another encoding that is named."""
    if not encoding or bad.encoding != BASE64:
        return bad.content
    try:
        return bad.content.decode(encoding).encode()
    except LookupError as error:
        raise Refused(
            f"no encoding is called {encoding}", hint="for example cp1252, gbk, shift_jis, utf-16"
        ) from error
    except UnicodeDecodeError:
        return bad.content


def _rejections(
    rejected_lines: Sequence[RejectedLine], kind: str | UnsetType = UNSET
) -> tuple[Rejection, ...]:
    return tuple(
        Rejection(kind=kind, line=bad.line, field=bad.field, why=bad.why, format=bad.format)
        for bad in rejected_lines
    )
