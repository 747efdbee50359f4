"""Events over HTTP: predictions, feedback and samples, one or a batch.

Predictions and feedback are acknowledged when they are on disk in the spool. Samples are few, and
are committed before the answer. What an event must be like, and what is kept of a bad one, is
`intake`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from flywheel import formats, intake
from flywheel.api.control import caught_up
from flywheel.intake import Kind, Receipt
from flywheel.loader import Loader
from flywheel.records import Sample
from flywheel.turn import Runtime
from flywheel.web import peer
from flywheel.web.guard import demand
from flywheel.web.http import BadRequest, answer, read_plain_body, refuse_unreadable
from flywheel.web.peer import CALLER

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


async def _answered(request: Request, kind: Kind) -> Response:
    runtime: Runtime = request.app.state.runtime
    body = await read_plain_body(request, runtime.config.api.max_body_mb * 2**20)
    refuse_unreadable(body)
    receipt = await accept(request, kind, body, _format(request))
    stored = receipt.accepted + receipt.duplicates
    return answer(receipt, 422 if receipt.rejected and not stored else 200)


async def accept(request: Request, kind: Kind, body: bytes, form: str) -> Receipt:
    """Store the events of a body and count them; they are on disk when it returns."""
    loader: Loader | None = request.app.state.loader
    if loader is not None and kind != "samples" and _waits(request):
        await run_in_threadpool(caught_up, request)  # what came earlier is known
        receipt = await _committed(request, kind, body, form)
    elif loader is None or kind == "samples":
        receipt = await _committed(request, kind, body, form)
        if kind == "samples" and receipt.accepted:
            peer.record(request, f"{receipt.accepted} samples imported")
    else:
        receipt = await _spooled(request, loader, kind, body, form)
    requests_seen = request.app.state.process_status.requests
    requests_seen.arrived(
        kind,
        accepted=receipt.accepted,
        duplicate=receipt.duplicates,
        rejected=len(receipt.rejected),
        skipped=receipt.skipped,
    )
    for bad in receipt.rejected:
        requests_seen.not_taken(kind, "rejected", bad.why, format=bad.format or "")
    for skipped in receipt.skips:
        requests_seen.not_taken(kind, "skipped", skipped.why, count=skipped.count)
    return receipt


def _waits(request: Request) -> bool:
    """Whether the sender waits until the tables are asked, for `new`, `known` and `conflicts`."""
    return bool(request.scope["query_string"]) and request.query_params.get("wait") == "1"


async def _committed(request: Request, kind: Kind, body: bytes, form: str) -> Receipt:
    """Commit the events of a body; they are in the tables when it returns."""
    new_generation = kind == "samples" and request.query_params.get("new_generation") == "1"
    if new_generation:
        demand(request, "decide", "a new golden generation")
    receipt = await run_in_threadpool(
        intake.accept,
        request.app.state.runtime,
        kind,
        body,
        form,
        by=str(request.scope[CALLER]),
        new_generation=new_generation,
        may_give=lambda samples: may_give(request, samples),
    )
    return _readable_by(request, receipt)


def _readable_by(request: Request, receipt: Receipt) -> Receipt:
    """The receipt without what judges, text and label, for a caller who may not read it."""
    caller = request.scope.get(CALLER)
    if not receipt.overlaps or (caller is not None and caller.may("decide")):
        return receipt
    hidden = tuple(
        msgspec.structs.replace(each, text="", near_intent="") for each in receipt.overlaps
    )
    return msgspec.structs.replace(receipt, overlaps=hidden)


def may_give(request: Request, samples: Sequence[Sample]) -> None:
    """Let only those give samples who may: `label` what is learned, `decide` what judges.

    Events of other tools may hold samples too, whatever they were sent as.

    Raises:
        Forbidden: the caller may not give one of them.
    """
    splits = {sample.split for sample in samples}
    if "train" in splits:
        demand(request, "label", "a sample that is learned")
    for split in sorted(splits - {"train"}):
        demand(request, "decide", f"a {split} sample")


async def _spooled(request: Request, loader: Loader, kind: Kind, body: bytes, form: str) -> Receipt:
    """Append the events of a body to the spool; they are on disk when it returns."""
    runtime: Runtime = request.app.state.runtime
    written = intake.spool_native(runtime, kind, body, form) if len(body) < _QUICK else None
    if written is None and len(body) < _SMALL:
        written = intake.spool_lines(runtime, kind, body, form)
    elif written is None:
        written = await run_in_threadpool(intake.spool_lines, runtime, kind, body, form)
    if written.long_way.samples:
        return await _committed(request, kind, body, form)
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
