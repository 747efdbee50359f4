"""What came in, looked at: lines that were not taken, scores as seen, and recent traffic in sum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from flywheel import intake
from flywheel.api.control import asked_for, caught_up
from flywheel.api.personal import View
from flywheel.api.requests import ChosenLines
from flywheel.intake import Receipt
from flywheel.score_rules import rule_text, suggestion
from flywheel.store import Connection, decisions, events, rejected, scores, traffic
from flywheel.turn import Runtime
from flywheel.web import peer
from flywheel.web.http import BadRequest, answer
from flywheel.web.peer import CALLER


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
    runtime: Runtime = request.app.state.runtime

    def drop() -> DroppedView:
        with runtime.store.write() as con:
            count = rejected.forget(con, _chosen(con, asked))
            if count:
                by, now = str(request.scope[CALLER]), runtime.clock()
                decisions.record_act(con, "rejected.dropped", by, f"{count} lines", now)
            return DroppedView(dropped=count)

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
        return intake.retry(runtime, lines, asked.encoding, by=str(request.scope[CALLER]))

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
