"""What curation refused or doubted in a turn, sample by sample, and why."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from flywheel.api.personal import Text, View
from flywheel.store import samples, turns
from flywheel.turn import Runtime
from flywheel.web.http import answer


class RefusedSampleView(View):
    """A sample that is not learned, or counts less."""

    sample: str  # id
    text: Text
    intent: str
    origin: str
    reason: str  # leak, label_noise, doubted (it is learned, and counts less), conflict, …
    detail: Text  # why; it may hold another text
    near: str | None  # of a seed that is held out: the id of the sample it is near


async def refused_samples(request: Request) -> Response:
    """Samples that a turn's curation refused or weighed less, with why; `reason` names one kind."""
    runtime: Runtime = request.app.state.runtime
    turn_id, reason = request.path_params["id"], request.query_params.get("reason", "")

    def look() -> list[RefusedSampleView]:
        with runtime.store.read() as con:
            near = dict(turns.get(con, turn_id).record.held_out)
            found = samples.refusals(con, turn_id, reason)
        return [
            RefusedSampleView(
                sample=each.sample.id,
                text=each.sample.text,
                intent=each.sample.intent,
                origin=each.sample.origin,
                reason=each.reason,
                detail=each.detail,
                near=near.get(each.sample.id),
            )
            for each in found
        ]

    return answer(await run_in_threadpool(look))
