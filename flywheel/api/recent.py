"""Recent predictions in sum, for `flywheel doctor`: counts, never texts."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from flywheel.api.control import caught_up
from flywheel.api.http import answer
from flywheel.api.responses import View
from flywheel.store import traffic
from flywheel.turn import Runtime


class TrafficView(View):
    """The newest predictions: how many, of which intents, in which letters beyond ASCII."""

    n: int
    intents: Mapping[str, int]
    letters: Mapping[str, int]
    earlier: Mapping[str, int]  # by intent, of as many predictions before them


async def recent_traffic(request: Request) -> Response:
    """Counts of the newest predictions: their intents, and letters beyond ASCII."""
    await run_in_threadpool(caught_up, request)
    return answer(await run_in_threadpool(_recent, request.app.state.runtime))


def _recent(runtime: Runtime) -> TrafficView:
    with runtime.store.read() as con:
        found = traffic.recent(con)
    return TrafficView(
        n=found.n, intents=found.intents, letters=found.letters, earlier=found.earlier
    )
