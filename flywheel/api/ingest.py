"""Events over HTTP: predictions, feedback and samples, one or a batch.

Predictions and feedback are acknowledged when they are on disk in the spool. Samples are few, and
are committed before the answer. What an event must be like, and what is kept of a bad one, is
`intake`'s.
"""

from __future__ import annotations

import asyncio
from dataclasses import fields
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from flywheel import formats, intake
from flywheel.api import peer
from flywheel.api.control import asked_for, caught_up
from flywheel.api.http import BadRequest, answer, read_plain_body, refuse_unreadable
from flywheel.api.requests import ChosenLines
from flywheel.api.responses import View
from flywheel.intake import Kind, Receipt
from flywheel.loader import Loader
from flywheel.score_rules import rule_text, suggestion
from flywheel.store import Connection, events, rejected, scores
from flywheel.turn import Runtime

_SMALL = 16_384  # bytes; a body below is read where it arrives, without changing threads
_QUICK = 262_144  # the same for native events, which take a few milliseconds at that length


async def predictions(request: Request) -> Response:
    """Take production answers."""
    return await _answered(request, "predictions")


async def feedback(request: Request) -> Response:
    """Take verdicts on predictions, which may arrive later."""
    return await _answered(request, "feedback")


async def samples(request: Request) -> Response:
    """Take labelled texts."""
    return await _answered(request, "samples")


class RejectedLineView(View):
    """A line that was not taken."""

    id: str
    kind: str  # what it was sent as; "source NAME" of a source
    format: str  # it was read as
    line: int  # in its batch
    field: str  # at fault; "" for the line as a whole
    why: str
    at: str
    raw: str  # the text, or base64 where `encoding` says so
    encoding: str  # "base64" where the bytes are no UTF-8


class RejectedReasonView(View):
    """How many lines were not taken for one reason."""

    kind: str
    format: str
    field: str
    why: str
    lines: int
    latest: str


class RejectedView(View):
    """What was not taken, and why."""

    total: int
    reasons: list[RejectedReasonView]  # the most frequent
    lines: list[RejectedLineView]  # newest first


class DroppedView(View):
    """How many lines were deleted."""

    dropped: int


class SeenScoreView(View):
    """What was seen of the scores of one name, and whether they count as verdicts."""

    source: str
    name: str
    kind: str
    count: int
    counted: int
    low: float | None
    high: float | None
    labels: list[str]
    latest: str
    rule: str | None  # in `[feedback.scores]`; None: by default
    add: str  # the line to add to `[feedback.scores]`


_LISTED = 1_000  # rejected lines in a listing, unless `limit` says otherwise


async def list_rejected(request: Request) -> Response:
    """Lines that were not taken, newest first: of a `kind`, with `why` in the reason, at most
    `limit`."""
    await run_in_threadpool(caught_up, request)
    asked = request.query_params
    limit = asked.get("limit", str(_LISTED))
    if not limit.isdecimal():
        raise BadRequest(f"limit is {limit!r}, no number", hint="for example limit=100")

    def look() -> RejectedView:
        with request.app.state.runtime.store.read() as con:
            return RejectedView(
                total=events.counts(con).rejected,
                reasons=[
                    RejectedReasonView(**{**_cells(each), "latest": each.latest.isoformat()})
                    for each in rejected.reasons(con)
                ],
                lines=[
                    _rejected_view(one)
                    for one in rejected.listed(
                        con, kind=asked.get("kind"), text=asked.get("why"), most=int(limit)
                    )
                ],
            )

    return answer(await run_in_threadpool(look))


async def one_rejected(request: Request) -> Response:
    """One line that was not taken, as it came."""
    await run_in_threadpool(caught_up, request)

    def look() -> RejectedLineView:
        with request.app.state.runtime.store.read() as con:
            return _rejected_view(rejected.one(con, request.path_params["id"]))

    return answer(await run_in_threadpool(look))


async def drop_rejected(request: Request) -> Response:
    """Delete lines that were not taken: those of `ids`, or all."""
    await run_in_threadpool(caught_up, request)
    asked = await asked_for(request, ChosenLines)

    def drop() -> DroppedView:
        with request.app.state.runtime.store.write() as con:
            return DroppedView(dropped=rejected.forget(con, _chosen(con, asked)))

    dropped = await run_in_threadpool(drop)
    peer.record(request, f"{dropped.dropped} rejected lines dropped")
    return answer(dropped)


async def retry_rejected(request: Request) -> Response:
    """Read lines that were rejected once more, with the formats, intents and scores of today."""
    runtime: Runtime = request.app.state.runtime
    await run_in_threadpool(caught_up, request)
    asked = await asked_for(request, ChosenLines)

    def retry() -> Receipt:
        lines = None
        if asked.ids:
            with runtime.store.read() as con:
                lines = [rejected.one(con, line_id) for line_id in asked.ids]
        return intake.retry(runtime, lines, asked.encoding)

    return answer(await run_in_threadpool(retry))


async def seen_scores(request: Request) -> Response:
    """Scores that other tools gave, by name: seen, counted, and the rule that would count them."""
    await run_in_threadpool(caught_up, request)
    runtime: Runtime = request.app.state.runtime
    rules = runtime.config.feedback.scores

    def look() -> list[SeenScoreView]:
        with runtime.store.read() as con:
            found = scores.seen(con)
        return [
            SeenScoreView(
                **{**_cells(each), "labels": list(each.labels), "latest": each.latest.isoformat()},
                rule=rule_text(each.source, each.name, rules),
                add=suggestion(each.name, each.kind, each.low, each.high, each.labels),
            )
            for each in found
        ]

    return answer(await run_in_threadpool(look))


def _chosen(con: Connection, asked: ChosenLines) -> list[str]:
    if not asked.ids:
        return [line.id for line in rejected.listed(con)]
    return [rejected.one(con, line_id).id for line_id in asked.ids]


def _rejected_view(line: rejected.RejectedEvent) -> RejectedLineView:
    return RejectedLineView(**{**_cells(line), "at": line.at.isoformat()})


def _cells(record: Any) -> dict[str, Any]:
    """The fields of a record, not copied."""
    return {field.name: getattr(record, field.name) for field in fields(record)}


async def _answered(request: Request, kind: Kind) -> Response:
    runtime: Runtime = request.app.state.runtime
    body = await read_plain_body(request, runtime.config.api.max_body_mb * 2**20)
    refuse_unreadable(body)
    receipt = await accept(request, kind, body, _format(request))
    stored = receipt.accepted + receipt.duplicates
    return answer(receipt, 422 if receipt.rejected and not stored else 200)


async def accept(request: Request, kind: Kind, body: bytes, form: str) -> Receipt:
    """Store the events of a body and count them; they are on disk when it returns."""
    runtime: Runtime = request.app.state.runtime
    loader: Loader | None = request.app.state.loader
    if loader is not None and kind != "samples" and _waits(request):
        await run_in_threadpool(caught_up, request)  # what came earlier is known
        receipt = await run_in_threadpool(intake.accept, runtime, kind, body, form)
    elif loader is None or kind == "samples":
        generation = request.query_params.get("new_generation") == "1"
        receipt = await run_in_threadpool(
            intake.accept, runtime, kind, body, form, new_generation=generation
        )
        if kind == "samples" and receipt.accepted:
            peer.record(request, f"{receipt.accepted} samples imported")
    else:
        receipt = await _spooled(runtime, loader, kind, body, form)
    requests_seen = request.app.state.process_status.requests
    requests_seen.arrived(
        kind,
        accepted=receipt.accepted,
        duplicate=receipt.duplicates,
        rejected=len(receipt.rejected),
        skipped=receipt.skipped,
    )
    for bad in receipt.rejected:
        requests_seen.not_taken(kind, "rejected", bad.why)
    for skipped in receipt.skips:
        requests_seen.not_taken(kind, "skipped", skipped.why, skipped.count)
    return receipt


def _waits(request: Request) -> bool:
    """Whether the sender waits until the tables are asked, for `new`, `known` and `conflicts`."""
    return bool(request.scope["query_string"]) and request.query_params.get("wait") == "1"


async def _spooled(runtime: Runtime, loader: Loader, kind: Kind, body: bytes, form: str) -> Receipt:
    """Append the events of a body to the spool; they are on disk when it returns."""
    written = intake.spool_native(runtime, kind, body, form) if len(body) < _QUICK else None
    if written is None and len(body) < _SMALL:
        written = intake.spool_lines(runtime, kind, body, form)
    elif written is None:
        written = await run_in_threadpool(intake.spool_lines, runtime, kind, body, form)
    if written.long_way.samples:
        return await run_in_threadpool(intake.accept, runtime, kind, body, form)
    if written.lines:
        loop = asyncio.get_running_loop()
        on_disk: asyncio.Future[None] = loop.create_future()
        loader.spool.append(
            written.lines, lambda error: loop.call_soon_threadsafe(_resolve, on_disk, error)
        )
        await on_disk
    return intake.receipt_of(written)


def _format(request: Request) -> str:
    if not request.scope["query_string"]:  # as nearly always
        return formats.AUTO
    form = request.query_params.get("format", formats.AUTO)
    if form != formats.AUTO and form not in formats.FORMATS:
        raise BadRequest(
            f"there is no format `{form}`", hint=f"one of auto, {', '.join(formats.FORMATS)}"
        )
    return form


def _resolve(on_disk: asyncio.Future[None], error: Exception | None) -> None:
    if on_disk.done():  # whoever asked went away
        return
    if error is None:
        on_disk.set_result(None)
    else:
        on_disk.set_exception(error)
