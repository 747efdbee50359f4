"""Events in: predictions, feedback and samples, one or a batch, each stored once.

Good lines of a batch are stored whatever the bad ones look like; a bad line is kept with its
reason. Sending the same again changes nothing. Predictions and feedback are acknowledged when
they are on disk in the spool; what the tables know of them is not asked, so `duplicates` counts
the repeats within the request. Samples are few, and are committed before the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Any, Literal

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from flywheel import formats, turn
from flywheel.api import peer
from flywheel.api.control import caught_up
from flywheel.api.http import BadRequest, answer, read_body, refuse_unreadable
from flywheel.loader import Loader
from flywheel.store import Connection, events
from flywheel.store.events import RejectedEvent
from flywheel.turn import Runtime

Kind = Literal["predictions", "feedback", "samples"]
_SMALL = 16_384  # bytes; a body below is read where it arrives, without changing threads
_QUICK = 262_144  # the same for native events, which take a few milliseconds at that length


async def predictions(request: Request) -> Response:
    """Take production answers."""
    return await _take(request, "predictions")


async def feedback(request: Request) -> Response:
    """Take verdicts on predictions, which may arrive later."""
    return await _take(request, "feedback")


async def samples(request: Request) -> Response:
    """Take labelled texts."""
    return await _take(request, "samples")


async def retry_rejected(request: Request) -> Response:
    """Read the lines that were rejected once more, with the formats and intents of today."""
    runtime: Runtime = request.app.state.runtime
    await run_in_threadpool(caught_up, request)
    return answer(await run_in_threadpool(retry, runtime))


def retry(runtime: Runtime) -> dict[str, Any]:
    """Store the rejected lines that can be read by now, in one transaction; blocks.

    Returns:
        {"accepted", "duplicates", "rejected"}: as `take`, the rejected with what they were sent as.
    """
    said = {"accepted": 0, "duplicates": 0}
    readable, still = [], []
    with runtime.store.write() as con:
        for bad in events.rejected(con):
            kind = bad.kind if bad.kind in formats.KINDS else None
            if bad.field == events.FIELD and bad.why == events.WHY:
                still.append({"kind": bad.kind, "line": 0, "field": bad.field, "why": bad.why})
                continue
            parsed = formats.read_lines(kind, [bad.raw.encode()], **reading(runtime))
            if parsed.rejected:
                still += [{"kind": bad.kind, **one} for one in _told(parsed.rejected)]
                continue
            stored = store(runtime, con, bad.kind, parsed)
            said = {name: said[name] + stored[name] for name in said}
            readable.append(bad)
        events.forget_rejected(con, readable)
    return {**said, "rejected": still}


async def _take(request: Request, kind: Kind) -> Response:
    runtime: Runtime = request.app.state.runtime
    body = await read_body(request, runtime.config.api.max_body_mb * 2**20)
    refuse_unreadable(body)
    form = _format(request)
    taken = await keep(request, kind, body, form)
    good, bad = taken["accepted"] + taken["duplicates"], len(taken["rejected"])
    return answer(taken, 422 if bad and not good else 200)


async def keep(request: Request, kind: Kind, body: bytes, form: str) -> dict[str, Any]:
    """Keep what a body says and count it; safe when it returns. The answer is as of `take`."""
    runtime: Runtime = request.app.state.runtime
    loader: Loader | None = request.app.state.loader
    if loader is None or kind == "samples":
        generation = request.query_params.get("new_generation") == "1"
        taken = await run_in_threadpool(take, runtime, kind, body, form, new_generation=generation)
        if kind == "samples" and taken["accepted"]:
            peer.record(request, f"{taken['accepted']} samples imported")
    else:
        taken = await _spool(runtime, loader, kind, body, form)
    request.app.state.vitals.requests.arrived(
        kind,
        accepted=taken["accepted"],
        duplicate=taken["duplicates"],
        rejected=len(taken["rejected"]),
    )
    return taken


async def _spool(
    runtime: Runtime, loader: Loader, kind: Kind, body: bytes, form: str
) -> dict[str, Any]:
    """Keep what a body says in the spool; on disk when it returns."""
    written = None
    if form in formats.USUAL and len(body) < _QUICK:
        limit = runtime.config.api.max_line_kb * 1024
        written = formats.write_usual(kind, body, max_line_bytes=limit)
    if written is None:
        write = partial(formats.write_body, kind, body, format=form, **reading(runtime))
        written = write() if len(body) < _SMALL else await run_in_threadpool(write)
    if written.long_way.samples:
        return await run_in_threadpool(take, runtime, kind, body, form)
    if written.lines:
        loop = asyncio.get_running_loop()
        safe: asyncio.Future[None] = loop.create_future()
        loader.spool.append(
            written.lines, lambda error: loop.call_soon_threadsafe(_settle, safe, error)
        )
        await safe
    return {
        "accepted": written.events - written.repeated,
        "duplicates": written.repeated,
        "rejected": _told(written.rejected),
    }


def _format(request: Request) -> str:
    if not request.scope["query_string"]:  # as nearly always
        return formats.AUTO
    form = request.query_params.get("format", formats.AUTO)
    if form != formats.AUTO and form not in formats.FORMATS:
        raise BadRequest(
            f"there is no format `{form}`", hint=f"one of auto, {', '.join(formats.FORMATS)}"
        )
    return form


def _settle(safe: asyncio.Future[None], error: Exception | None) -> None:
    if safe.done():  # whoever asked went away
        return
    if error is None:
        safe.set_result(None)
    else:
        safe.set_exception(error)


def take(
    runtime: Runtime,
    kind: Kind,
    body: bytes,
    form: str = formats.AUTO,
    *,
    new_generation: bool = False,
) -> dict[str, Any]:
    """Store what a body says; blocks on the database.

    Args:
        runtime: whose database it is.
        kind: what the events are sent as.
        body: a JSON object, a list of them, or one a line.
        form: the format they are in, or "auto".
        new_generation: golden samples open a new generation.

    Returns:
        {"accepted", "duplicates", "rejected": [{"line", "field", "why"}]}, for samples also
        "generation" and "bought".
    """
    parsed = formats.read_body(kind, body, format=form, **reading(runtime))
    with runtime.store.write() as con:
        stored = store(runtime, con, kind, parsed, new_generation=new_generation)
    return {**stored, "rejected": _told(parsed.rejected)}


def _told(rejected: Iterable[formats.RejectedLine]) -> list[dict[str, Any]]:
    return [{"line": one.line, "field": one.field, "why": one.why} for one in rejected]


def reading(runtime: Runtime) -> dict[str, Any]:
    """How this daemon reads events: the options of `formats.read_body` and `read_lines`."""
    return {
        "context_turns": runtime.config.intents.context_turns,
        "received": runtime.clock(),
        "known": {intent.name: intent for intent in runtime.intents},
        "max_line_bytes": runtime.config.api.max_line_kb * 1024,
    }


def store(
    runtime: Runtime,
    con: Connection,
    kind: str,
    parsed: formats.Parsed,
    *,
    new_generation: bool = False,
) -> dict[str, Any]:
    """Store parsed events in the caller's transaction, the bad ones with their reasons.

    Returns:
        {"accepted", "duplicates"}, with samples also "generation" and "bought".
    """
    now = runtime.clock()
    events.add_rejected(
        con,
        [
            RejectedEvent(
                kind=kind,
                line=one.line,
                raw=one.raw,
                field=one.field,
                why=one.why,
                at=now,
            )
            for one in parsed.rejected
        ],
    )
    added = events.add_predictions(con, parsed.predictions)
    added += events.add_feedback(con, parsed.feedback)
    said = {
        "accepted": added,
        "duplicates": len(parsed.predictions) + len(parsed.feedback) - added,
    }
    if not parsed.samples and kind != "samples":
        return said
    rows = [turn.Incoming(sample=one, answer=parsed.answers.get(one.id)) for one in parsed.samples]
    counted = turn.add_samples(runtime, rows, new_generation=new_generation)
    return {**counted, **{name: said[name] + counted[name] for name in said}}
