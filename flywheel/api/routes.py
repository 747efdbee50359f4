"""Every path of the HTTP interface. A new one is one line here and one handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from flywheel.api import (
    control,
    ingest,
    labels,
    operations,
    page,
    received,
    requests,
    responses,
    samples,
    traces,
)
from flywheel.intake import Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRoute:
    """One method of one path; the handler's docstring is its description."""

    method: str
    path: str
    handler: Callable[[Request], Awaitable[Response]]
    body: type[Any] | None = None  # what a request carries
    reply: Any = None  # type of a JSON answer; None: the answer is no JSON
    batch: bool = False  # NDJSON is taken too
    file: bool = False  # a request carries a file
    media_type: str = "application/json"  # of the answer
    status: int = 200  # of success
    refused: int | None = None  # status of the same answer where nothing could be used


def _get(path: str, handler: Any, reply: Any) -> ApiRoute:
    return ApiRoute(method="GET", path=path, handler=handler, reply=reply)


def _text(path: str, handler: Any, media_type: str = "text/plain") -> ApiRoute:
    return ApiRoute(method="GET", path=path, handler=handler, media_type=media_type)


def _post(path: str, handler: Any, body: type[Any], reply: Any, status: int = 200) -> ApiRoute:
    return ApiRoute(
        method="POST", path=path, handler=handler, body=body, reply=reply, status=status
    )


def _events(path: str, handler: Any, body: type[Any]) -> ApiRoute:
    return ApiRoute(
        method="POST",
        path=path,
        handler=handler,
        body=body,
        batch=True,
        reply=Receipt,
        refused=422,
    )


ROUTES: tuple[ApiRoute, ...] = (
    _events("/v1/predictions", ingest.predictions, requests.PredictionEvent),
    _events("/v1/feedback", ingest.feedback, requests.FeedbackEvent),
    _events("/v1/samples", ingest.samples, requests.SampleEvent),
    _post("/v1/erase", operations.erase, requests.Erasure, operations.ErasedView),
    _post("/v1/traces", traces.traces, requests.TraceExport, traces.ExportedTracesView),
    _post("/v1/logs", traces.logs, requests.LogExport, traces.ExportedLogsView),
    _get("/v1/rejected", received.list_rejected, received.RejectedView),
    _get("/v1/rejected/{id}", received.one_rejected, received.RejectedLineView),
    _post("/v1/rejected/drop", received.drop_rejected, requests.ChosenLines, received.DroppedView),
    _post("/v1/rejected/retry", received.retry_rejected, requests.ChosenLines, Receipt),
    _get("/v1/scores", received.seen_scores, list[received.SeenScoreView]),
    _post("/v1/disputes", control.dispute, requests.Dispute, responses.DisputedView),
    _get("/v1/samples", samples.export_samples, list[samples.SampleCountView]),
    _get("/v1/traffic", received.recent_traffic, received.TrafficView),
    _get("/v1/labels", labels.queue, labels.QueueView | list[Any]),  # a list: a tool's form
    _get("/v1/labels/agreement", labels.agreement, labels.AgreementView),
    _post("/v1/labels", labels.give, requests.Label, labels.LabelledView),
    _post("/v1/labels/undo", labels.undo, requests.Nothing, labels.UndoneView),
    _post("/v1/labels/settle", labels.settle, requests.Nothing, labels.EffectsView),
    ApiRoute(
        method="POST",
        path="/v1/labels/import",
        handler=labels.import_,
        body=requests.ToolItem,
        batch=True,
        reply=labels.ImportedLabelsView,
    ),
    _get("/v1/status", control.status, responses.StatusView),
    _get("/v1/intents", control.intents, list[responses.IntentView]),
    _get("/v1/synthesis", control.synthesis, responses.SynthesisView),
    _get("/v1/turns", control.turns, list[responses.TurnView]),
    _post("/v1/turns", control.start_turn, requests.Nothing, responses.TurnDetailView, 202),
    _get("/v1/turns/{id}", control.one_turn, responses.TurnDetailView),
    _post("/v1/turns/{id}/cancel", control.cancel_turn, requests.Nothing, responses.TurnDetailView),
    _get("/v1/decisions", control.decisions, list[responses.DecisionView]),
    _get("/v1/decisions/{id}", control.one_decision, responses.DecisionDetailView),
    _get("/v1/decisions/{id}/verify", control.verify, responses.VerifiedView),
    _post(
        "/v1/decisions/{id}/approve",
        control.approve,
        requests.Approval,
        responses.DecisionDetailView,
    ),
    _post(
        "/v1/decisions/{id}/reject", control.reject, requests.Reason, responses.DecisionDetailView
    ),
    _get("/v1/adapters", control.adapters, list[responses.AdapterView]),
    _post("/v1/rollback", control.rollback, requests.Rollback, responses.DecisionDetailView),
    _post("/v1/reload", operations.reload, requests.Nothing, operations.ReloadedView),
    _get("/v1/check", operations.check, operations.IntegrityView),
    _text("/v1/backup", operations.backup, "application/octet-stream"),
    ApiRoute(
        method="POST",
        path="/v1/restore",
        handler=operations.restore,
        file=True,
        reply=operations.RestoredView,
        status=202,
    ),
    _text("/metrics", control.metrics_page),
    _text("/healthz", control.healthz),
    _text("/readyz", control.readyz),
    _text("/", page.page, "text/html"),
)
