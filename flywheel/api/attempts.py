"""What a known caller tried and was refused: counted, and written into the chain of decisions.

At most once a minute for each caller and route.
"""

from __future__ import annotations

import logging

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from flywheel.errors import FlywheelError, Refused
from flywheel.store import decisions
from flywheel.turn import Runtime
from flywheel.web.guard import who_asked
from flywheel.web.http import of_flywheel_error
from flywheel.web.peer import CALLER
from flywheel.web.refusals import Refusals

log = logging.getLogger(__name__)


async def of_forbidden(request: Request, error: Exception) -> Response:
    """403; the attempt is counted, and stands in the chain."""
    refusals: Refusals = request.app.state.refusals
    refusals.count("role", who_asked(request.scope, request.scope.get(CALLER)))
    await _note(request, "")
    return of_flywheel_error(request, error)


_DOORS = frozenset(
    {
        "/v1/decisions/{id}/approve",
        "/v1/decisions/{id}/reject",
        "/v1/disputes",
        "/v1/restore",
        "/v1/rollback",
    }
)
"""Routes that lead to the champion, or to what it is judged by."""


async def of_refused(request: Request, error: Exception) -> Response:
    """409; at a door to the champion the attempt stands in the chain with the rule's words.

    Not those about a backup: they may quote it.
    """
    assert isinstance(error, Refused)
    path = _path(request)
    if path in _DOORS:
        await _note(request, "" if path == "/v1/restore" else f": {error.message}")
    return of_flywheel_error(request, error)


def _path(request: Request) -> str:
    return str(getattr(request.scope.get("route"), "path", ""))


async def _note(request: Request, why: str) -> None:
    """Write an attempt of a known caller into the chain, once a minute for each route."""
    caller = request.scope.get(CALLER)
    refusals: Refusals = request.app.state.refusals
    action = f"{request.method} {_path(request)}"
    if caller is not None and (many := refusals.to_be_told((str(caller), action))) is not None:
        again = f" ({many} times since it was noted last)" if many > 1 else ""
        words = f"{action}{why}{again}"
        await run_in_threadpool(_into_chain, request.app.state.runtime, str(caller), words)


def _into_chain(runtime: Runtime, by: str, what: str) -> None:
    try:
        with runtime.store.write() as con:
            decisions.record_act(con, "refused", by, what, runtime.clock())
    except FlywheelError as failed:
        log.error("a refused attempt is not in the chain: %s", failed)  # noqa: TRY400
