"""Every path of the HTTP interface. A new one is one line here and one handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from flywheel.api import control, ingest, labels, operations, page, requests, samples, traces


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRoute:
    """One method of one path; the handler's docstring is its description."""

    method: str
    path: str
    handler: Callable[[Request], Awaitable[Response]]
    body: type[Any] | None = None  # what a request carries
    batch: bool = False  # NDJSON is taken too
    file: bool = False  # a request carries a file
    media_type: str = "application/json"  # of the answer
    status: int = 200  # of success


def _get(path: str, handler: Any, media_type: str = "application/json") -> ApiRoute:
    return ApiRoute(method="GET", path=path, handler=handler, media_type=media_type)


def _post(path: str, handler: Any, body: type[Any], status: int = 200) -> ApiRoute:
    return ApiRoute(method="POST", path=path, handler=handler, body=body, status=status)


def _events(path: str, handler: Any, body: type[Any]) -> ApiRoute:
    return ApiRoute(method="POST", path=path, handler=handler, body=body, batch=True)


ROUTES: tuple[ApiRoute, ...] = (
    _events("/v1/predictions", ingest.predictions, requests.PredictionEvent),
    _events("/v1/feedback", ingest.feedback, requests.FeedbackEvent),
    _events("/v1/samples", ingest.samples, requests.SampleEvent),
    _post("/v1/erase", operations.erase, requests.Erasure),
    _post("/v1/traces", traces.traces, requests.TraceExport),
    _post("/v1/rejected/retry", ingest.retry_rejected, requests.Nothing),
    _post("/v1/disputes", control.dispute, requests.Dispute),
    _get("/v1/samples", samples.export_samples),
    _get("/v1/labels", labels.queue),
    _get("/v1/labels/agreement", labels.agreement),
    _post("/v1/labels", labels.give, requests.Label),
    _post("/v1/labels/undo", labels.undo, requests.Nothing),
    _post("/v1/labels/settle", labels.settle, requests.Nothing),
    _events("/v1/labels/import", labels.import_, requests.ToolItem),
    _get("/v1/status", control.status),
    _get("/v1/intents", control.intents),
    _get("/v1/synthesis", control.synthesis),
    _get("/v1/turns", control.turns),
    _post("/v1/turns", control.start_turn, requests.Nothing, 202),
    _get("/v1/turns/{id}", control.one_turn),
    _post("/v1/turns/{id}/cancel", control.cancel_turn, requests.Nothing),
    _get("/v1/decisions", control.decisions),
    _get("/v1/decisions/{id}", control.one_decision),
    _get("/v1/decisions/{id}/verify", control.verify),
    _post("/v1/decisions/{id}/approve", control.approve, requests.Approval),
    _post("/v1/decisions/{id}/reject", control.reject, requests.Reason),
    _get("/v1/adapters", control.adapters),
    _post("/v1/rollback", control.rollback, requests.Rollback),
    _post("/v1/reload", operations.reload, requests.Nothing),
    _get("/v1/check", operations.check),
    _get("/v1/backup", operations.backup, "application/octet-stream"),
    ApiRoute(method="POST", path="/v1/restore", handler=operations.restore, file=True, status=202),
    _get("/metrics", control.metrics_page, "text/plain"),
    _get("/healthz", control.healthz, "text/plain"),
    _get("/readyz", control.readyz, "text/plain"),
    _get("/", page.page, "text/html"),
)
