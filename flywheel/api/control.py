"""What people and programs ask of the loop: views, turns, decisions, rollback."""

from __future__ import annotations

import contextlib
import shutil
from typing import Any, TypeVar

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from flywheel import turn
from flywheel.api import prometheus, views
from flywheel.api.personal import figures_of
from flywheel.api.prometheus import ProcessStatus
from flywheel.api.requests import Approval, Dispute, Nothing, Reason, Rollback
from flywheel.api.responses import ActView, StatusView
from flywheel.api.views import preview
from flywheel.errors import DiskFull
from flywheel.loader import Loader
from flywheel.store import decisions as stored_decisions
from flywheel.store.events import Stored
from flywheel.store.health import HealthScope
from flywheel.turn import Runtime
from flywheel.web import peer
from flywheel.web.http import BadRequest, answer, problem, read_body
from flywheel.web.peer import CALLER, Caller

Asked = TypeVar("Asked", bound=msgspec.Struct)
_MAX_BODY = 64 * 1024  # bytes; no control request needs more
_ACTS, _MOST_ACTS = 50, 100_000  # events of the chain, unless `limit` says otherwise, and at most


async def status(request: Request) -> Response:
    """What the daemon is doing, and what waits for a person."""
    return answer(await run_in_threadpool(status_of, request))


async def intents(request: Request) -> Response:
    """Health of each intent, the worst first; of one `adapter`, or one `slice.NAME`."""
    failing = request.query_params.get("failing", "") not in ("", "0", "false")
    await run_in_threadpool(caught_up, request)
    slices = {
        name.removeprefix("slice."): value
        for name, value in request.query_params.items()
        if name.startswith("slice.")
    }
    scope = HealthScope(adapter=request.query_params.get("adapter"), slices=slices)
    found = await run_in_threadpool(
        views.intents, _runtime(request), failing_only=failing, scope=scope
    )
    return answer(found)


async def synthesis(request: Request) -> Response:
    """What a turn would ask the teacher now, and its estimated price; buys nothing."""
    return answer(await run_in_threadpool(preview, _runtime(request)))


async def turns(request: Request) -> Response:
    """The newest turns, newest first."""
    return answer(await run_in_threadpool(views.turns_view, _runtime(request)))


async def one_turn(request: Request) -> Response:
    """One turn with its steps; raters by name for those who may decide."""
    found = await run_in_threadpool(views.turn_view, _runtime(request), _id(request))
    return answer(shown_to(request, found))


async def start_turn(request: Request) -> Response:
    """Open a turn now."""
    await asked_for(request, Nothing)
    await run_in_threadpool(caught_up, request)
    runtime, trigger = _runtime(request), f"asked by {request.scope[CALLER]}"
    opened = await run_in_threadpool(turn.request, runtime, trigger)
    peer.record(request, f"{opened.id} opened")
    return answer(await run_in_threadpool(views.turn_view, runtime, opened.id), 202)


async def cancel_turn(request: Request) -> Response:
    """End an open turn."""
    await asked_for(request, Nothing)
    runtime, by = _runtime(request), str(request.scope[CALLER])
    ended = await run_in_threadpool(turn.cancel, runtime, _id(request), by)
    peer.record(request, f"{ended.id} cancelled")
    return answer(await run_in_threadpool(views.turn_view, runtime, ended.id))


async def decisions(request: Request) -> Response:
    """The newest decisions, newest first."""
    return answer(await run_in_threadpool(views.decisions_view, _runtime(request)))


async def one_decision(request: Request) -> Response:
    """One decision with what a person needs to judge it; texts for those who may decide."""
    found = await run_in_threadpool(views.decision_view, _runtime(request), _id(request))
    return answer(shown_to(request, found))


async def verify(request: Request) -> Response:
    """Judge a decision again from its stored outcomes and compare the bytes."""
    return answer(await run_in_threadpool(turn.verify, _runtime(request), _id(request)))


async def approve(request: Request) -> Response:
    """Promote what waits."""
    asked = await asked_for(request, Approval)
    runtime, by = _runtime(request), str(request.scope[CALLER])
    why = _reason(asked.because)
    decided = await run_in_threadpool(
        turn.approve, runtime, _id(request), by, why, tuple(asked.override), asked.looked
    )
    peer.record(request, f"{decided.id} approved", why)
    return answer(await run_in_threadpool(views.decision_view, runtime, decided.id))


async def reject(request: Request) -> Response:
    """Refuse what waits, and end its turn."""
    asked = await asked_for(request, Reason)
    runtime, by = _runtime(request), str(request.scope[CALLER])
    why = _reason(asked.because)
    decided = await run_in_threadpool(turn.reject, runtime, _id(request), by, why)
    peer.record(request, f"{decided.id} rejected", why)
    return answer(await run_in_threadpool(views.decision_view, runtime, decided.id))


async def dispute(request: Request) -> Response:
    """Set a golden sample aside because its label is doubted, or put it back."""
    asked = await asked_for(request, Dispute)
    runtime, by = _runtime(request), str(request.scope[CALLER])
    why = _reason(asked.because)
    told = await run_in_threadpool(
        turn.dispute, runtime, asked.sample, by, why, disputed=asked.disputed
    )
    peer.record(request, f"{asked.sample} {'disputed' if asked.disputed else 'put back'}", why)
    return answer(told)


async def rollback(request: Request) -> Response:
    """Put an earlier champion back into service; an open turn ends."""
    asked = await asked_for(request, Rollback)
    runtime, by = _runtime(request), str(request.scope[CALLER])
    why = _reason(asked.because)
    decided = await run_in_threadpool(turn.rollback, runtime, asked.to, by, why)
    peer.record(request, f"{decided.id}: rolled back to {decided.challenger}", why)
    return answer(await run_in_threadpool(views.decision_view, runtime, decided.id))


async def acts(request: Request) -> Response:
    """What was done or tried besides deciding, newest first, at most `limit`: who, what and why."""
    limit = request.query_params.get("limit", str(_ACTS))
    if not (limit.isascii() and limit.isdecimal()):
        raise BadRequest(f"limit is {limit!r}, no number", hint="for example limit=100")

    def look() -> list[ActView]:
        with _runtime(request).store.read() as con:
            found = stored_decisions.acts(con, min(int(limit[:9]), _MOST_ACTS))
        return [ActView(**act) for act in found]

    return answer(await run_in_threadpool(look))


async def adapters(request: Request) -> Response:
    """Every adapter, newest first."""
    return answer(await run_in_threadpool(views.adapters_view, _runtime(request)))


async def healthz(request: Request) -> Response:
    """The process answers; nothing else is asked."""
    return PlainTextResponse("ok\n")


async def readyz(request: Request) -> Response:
    """The database reads and writes, and turns can run."""
    found = [*_process_status(request).problems()]
    try:
        await run_in_threadpool(_runtime(request).store.probe)
    except Exception as error:  # noqa: BLE001  whatever it is, the daemon is not ready
        found.append(f"the database does not work ({type(error).__name__})")
    if found:
        return problem(503, "; ".join(found), "see `flywheel status` and `flywheel log`")
    return PlainTextResponse("ready\n")


async def metrics_page(request: Request) -> Response:
    """Counts for Prometheus."""
    seen = await run_in_threadpool(status_of, request, up_to_date=False)
    page = prometheus.render(
        msgspec.to_builtins(seen),
        _process_status(request).requests,
        at=_runtime(request).clock(),
        room=await run_in_threadpool(_room, request),
        unserved=bool(_runtime(request).unserved),
        parity_failed=await run_in_threadpool(_parity_failed, request),
    )
    return Response(page, media_type=prometheus.CONTENT_TYPE)


def _parity_failed(request: Request) -> int:
    with _runtime(request).store.read() as con:
        return len(stored_decisions.list_decisions(con, status="parity_failed"))


def _room(request: Request) -> prometheus.Room:
    loader: Loader | None = request.app.state.loader
    return prometheus.Room(
        spool_used=loader.spool.used if loader is not None else 0.0,
        disk_free=shutil.disk_usage(_runtime(request).config.state_dir).free,
    )


def shown_to(request: Request, view: Any) -> Any:
    """The view for who may decide; for who may only look its figures, without what people wrote."""
    caller: Caller = request.scope[CALLER]
    return view if caller.may("decide") else figures_of(view)


def caught_up(request: Request) -> None:
    """Load what was acknowledged before the request, so that its answer knows of it; blocks."""
    loader: Loader | None = request.app.state.loader
    if loader is not None:
        with contextlib.suppress(DiskFull):  # the answer names it among the problems
            loader.drain()


def status_of(request: Request, *, up_to_date: bool = True) -> StatusView:
    """The `status` view with what the daemon adds to it; blocks on the database."""
    if up_to_date:
        caught_up(request)
    process_status = _process_status(request)
    hidden = peer.hidden_logins(_runtime(request).config.promotion)
    following = process_status.next_turn()
    loader: Loader | None = request.app.state.loader
    strays = loader.strays() if loader is not None else ()
    return views.status(
        _runtime(request),
        uptime_s=process_status.uptime_s,
        next_turn=following.isoformat() if following else None,
        sources=process_status.sources(),
        problems=(
            *process_status.problems(),
            *process_status.serving_problems(),
            *hidden,
            *strays,
            *_runtime(request).store.recovered.problems,
            *process_status.redo_problems(),
        ),
        proved_at=process_status.proved_at(),
        loaded=_loaded(request),
    )


def _loaded(request: Request) -> Stored | None:
    loader: Loader | None = request.app.state.loader
    return None if loader is None else loader.stored


async def asked_for(request: Request, form: type[Asked]) -> Asked:
    """The body as `form`; an empty body counts as {}."""
    body = await read_body(request, _MAX_BODY)
    try:
        return msgspec.json.decode(body.strip() or b"{}", type=form)
    except msgspec.DecodeError as error:
        raise BadRequest(f"the body cannot be used: {error}", hint="see /openapi.json") from error


def _reason(because: str) -> str:
    if not because.strip():
        raise BadRequest("`because` is empty", hint="say why; it is kept in the audit trail")
    return because.strip()


def _id(request: Request) -> str:
    return str(request.path_params["id"])


def _runtime(request: Request) -> Runtime:
    runtime: Runtime = request.app.state.runtime
    return runtime


def _process_status(request: Request) -> ProcessStatus:
    process_status: ProcessStatus = request.app.state.process_status
    return process_status
