"""Every path of the HTTP interface. A new one is one line here and one handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from flywheel.api import control, export, forms, ingest, labels, page, traces, upkeep


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
    _events("/v1/predictions", ingest.predictions, forms.PredictionEvent),
    _events("/v1/feedback", ingest.feedback, forms.FeedbackEvent),
    _events("/v1/samples", ingest.samples, forms.SampleEvent),
    _post("/v1/erase", upkeep.erase, forms.Erasure),
    _post("/v1/traces", traces.traces, forms.TraceExport),
    _post("/v1/rejected/retry", ingest.retry_rejected, forms.Nothing),
    _post("/v1/disputes", control.dispute, forms.Dispute),
    _get("/v1/samples", export.export_samples),
    _get("/v1/labels", labels.queue),
    _get("/v1/labels/agreement", labels.agreement),
    _post("/v1/labels", labels.give, forms.Label),
    _post("/v1/labels/undo", labels.undo, forms.Nothing),
    _post("/v1/labels/settle", labels.settle, forms.Nothing),
    _events("/v1/labels/import", labels.import_, forms.ToolItem),
    _get("/v1/status", control.status),
    _get("/v1/intents", control.intents),
    _get("/v1/synthesis", control.synthesis),
    _get("/v1/turns", control.turns),
    _post("/v1/turns", control.start_turn, forms.Nothing, 202),
    _get("/v1/turns/{id}", control.one_turn),
    _post("/v1/turns/{id}/cancel", control.cancel_turn, forms.Nothing),
    _get("/v1/decisions", control.decisions),
    _get("/v1/decisions/{id}", control.one_decision),
    _get("/v1/decisions/{id}/verify", control.verify),
    _post("/v1/decisions/{id}/approve", control.approve, forms.Approval),
    _post("/v1/decisions/{id}/reject", control.reject, forms.Reason),
    _get("/v1/adapters", control.adapters),
    _post("/v1/rollback", control.rollback, forms.Rollback),
    _post("/v1/reload", upkeep.reload, forms.Nothing),
    _get("/v1/check", upkeep.check),
    _get("/v1/backup", upkeep.backup, "application/octet-stream"),
    ApiRoute(method="POST", path="/v1/restore", handler=upkeep.restore, file=True, status=202),
    _get("/metrics", control.metrics_page, "text/plain"),
    _get("/healthz", control.healthz, "text/plain"),
    _get("/readyz", control.readyz, "text/plain"),
    _get("/", page.page, "text/html"),
)
