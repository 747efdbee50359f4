"""`/v1/serving`: what serves, and the daemon's orders. Over the server's own Unix socket alone."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from flywheel.errors import FlywheelError, Refused
from flywheel.inference.serve_metrics import CONTENT_TYPE
from flywheel.inference.service import AnswerService
from flywheel.web.http import BadRequest, Forbidden, answer, problem, read_body
from flywheel.web.peer import UID

_SMALL = 4096  # bytes of an order
_Order = TypeVar("_Order", bound=msgspec.Struct)


class AdapterName(msgspec.Struct, forbid_unknown_fields=True):
    """Which adapter."""

    adapter: str


class MaybeAdapter(msgspec.Struct, forbid_unknown_fields=True):
    """Which adapter; null for none."""

    adapter: str | None


class PreparedView(msgspec.Struct, kw_only=True):
    """An adapter in memory."""

    adapter: str
    engine: str  # what it is computed with
    rule: dict[str, Any]  # what it answers by, as in use: labels, max_length, scope


class ArmsView(msgspec.Struct, kw_only=True):
    """Two adapters that answer beside each other."""

    champion: str
    earlier: str
    share: float  # of keys that the champion answers


class ServingView(msgspec.Struct, kw_only=True):
    """What serves now."""

    adapter: str | None  # that answers traffic
    loaded: list[str]  # adapters in memory
    arms: ArmsView | None  # while a promotion is watched; None: that adapter answers alone
    engine: str
    upstream: str  # the model behind this server, where it answers; "" where it does not
    instance: str  # of this process; another one after each start
    since: float  # of the last switch, in seconds since 1970
    queue: int  # texts that wait or are being answered
    log: dict[str, Any]  # of the answers: what waits for the daemon, what was not logged
    problems: list[str]
    version: str


async def serving(request: Request) -> Response:
    """Show which adapter answers, which are loaded, and what waits."""
    _refuse_strangers(request)
    return answer(_service(request).state())


async def prepare(request: Request) -> Response:
    """Load an adapter beside the one that answers, and check that it is what it was."""
    _refuse_strangers(request)
    wanted = await _read(request, AdapterName)
    try:
        loaded = await _service(request).adapters.prepare(wanted.adapter)
    except FlywheelError as error:
        raise Refused(error.message, hint=error.hint) from error
    router = loaded.router
    return answer({"adapter": loaded.id, "engine": router.engine, "rule": dict(router.rule)})


async def switch(request: Request) -> Response:
    """Answer with a loaded adapter from the next request on."""
    _refuse_strangers(request)
    wanted = await _read(request, MaybeAdapter)
    service = _service(request)
    await service.look_at_arms()  # first: with the champion its plan begins
    service.adapters.switch(wanted.adapter)
    return answer(service.state())


async def drop(request: Request) -> Response:
    """Let go of an adapter that answers no traffic."""
    _refuse_strangers(request)
    wanted = await _read(request, AdapterName)
    service = _service(request)
    service.adapters.drop(wanted.adapter)
    return answer(service.state())


async def metrics_page(request: Request) -> Response:
    """Show counters and gauges for Prometheus."""
    service = _service(request)
    state = service.state() | {"queue_limit": service.engine.limits.queue}
    return Response(service.metrics.page(state), media_type=CONTENT_TYPE)


async def healthz(request: Request) -> Response:
    """Say that the process answers."""
    return Response("ok\n", media_type="text/plain")


async def readyz(request: Request) -> Response:
    """Say whether questions are answered."""
    service = _service(request)
    if stopping := service.problems.get("stopping"):
        return problem(503, stopping, "ask again: another process takes its place")
    if not service.ready:
        return problem(503, "there is no champion yet", "promote one, or set [serving.upstream]")
    return Response("ready\n", media_type="text/plain")


def _service(request: Request) -> AnswerService:
    service: AnswerService = request.app.state.service
    return service


def _refuse_strangers(request: Request) -> None:
    if UID not in request.scope:
        raise Forbidden(
            "the server is steered over its Unix socket alone", hint="ask it there: serve.sock"
        )


async def _read(request: Request, kind: type[_Order]) -> _Order:
    try:
        return msgspec.json.decode(await read_body(request, _SMALL), type=kind)
    except msgspec.DecodeError as error:
        raise BadRequest(
            f"the body cannot be read: {error}", hint='for example {"adapter": "a-…"}'
        ) from error
