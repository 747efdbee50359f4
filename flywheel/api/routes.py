"""Every path of the HTTP interface. A new one is one line here and one handler."""

from __future__ import annotations

from typing import Any

from flywheel.api import (
    control,
    evidence_views,
    health_views,
    ingest,
    labels,
    not_learned,
    operations,
    page,
    received,
    requests,
    responses,
    samples,
    traces,
)
from flywheel.config import Role
from flywheel.intake import Receipt
from flywheel.web.openapi import ApiRoute, Needed


def _get(role: Needed, path: str, handler: Any, reply: Any) -> ApiRoute:
    return ApiRoute(method="GET", path=path, role=role, handler=handler, reply=reply)


def _text(role: Needed, path: str, handler: Any, media_type: str = "text/plain") -> ApiRoute:
    return ApiRoute(method="GET", path=path, role=role, handler=handler, media_type=media_type)


def _post(
    role: Needed, path: str, handler: Any, body: type[Any], reply: Any, status: int = 200
) -> ApiRoute:
    return ApiRoute(
        method="POST", path=path, role=role, handler=handler, body=body, reply=reply, status=status
    )


def _events(
    role: Needed, path: str, handler: Any, body: type[Any], or_role: Role | None = None
) -> ApiRoute:
    return ApiRoute(
        method="POST",
        path=path,
        role=role,
        or_role=or_role,
        handler=handler,
        body=body,
        batch=True,
        reply=Receipt,
        refused=422,
    )


# What may be changed by whom, and what is shown to whom.
#
# `ingest` adds what production said, and nothing that judges by itself. `look` shows figures: what
# gives away what people wrote takes the role that works with it (`label`, `decide`), or `admin`
# for whole lines as they came and whole databases. `label` may give samples that teach; those that
# judge, and a new golden generation, take `decide` (see `ingest.may_give`). What removes, replaces
# or reads anew takes `admin`.

ROUTES: tuple[ApiRoute, ...] = (
    _events("ingest", "/v1/predictions", ingest.predictions, requests.PredictionEvent),
    _events("ingest", "/v1/feedback", ingest.feedback, requests.FeedbackEvent),
    _events("label", "/v1/samples", ingest.samples, requests.SampleEvent, or_role="decide"),
    _post("admin", "/v1/erase", operations.erase, requests.Erasure, operations.ErasedView),
    _post("ingest", "/v1/traces", traces.traces, requests.TraceExport, traces.ExportedTracesView),
    _post("ingest", "/v1/logs", traces.logs, requests.LogExport, traces.ExportedLogsView),
    _get("admin", "/v1/rejected", received.list_rejected, received.RejectedView),
    _get("admin", "/v1/rejected/{id}", received.one_rejected, received.RejectedLineView),
    _post(
        "admin",
        "/v1/rejected/drop",
        received.drop_rejected,
        requests.ChosenLines,
        received.DroppedView,
    ),
    _post("admin", "/v1/rejected/retry", received.retry_rejected, requests.ChosenLines, Receipt),
    _get("look", "/v1/scores", received.seen_scores, list[received.SeenScoreView]),
    _post("decide", "/v1/disputes", control.dispute, requests.Dispute, responses.DisputedView),
    _get("look", "/v1/samples", samples.export_samples, list[samples.SampleCountView]),
    _get("look", "/v1/traffic", received.recent_traffic, received.TrafficView),
    _get("label", "/v1/labels", labels.queue, labels.QueueView | list[Any]),  # a tool's form
    _get("look", "/v1/labels/agreement", labels.agreement, labels.AgreementView),
    _post("label", "/v1/labels", labels.give, requests.Label, labels.LabelledView),
    _post("label", "/v1/labels/undo", labels.undo, requests.Nothing, labels.UndoneView),
    _post("label", "/v1/labels/settle", labels.settle, requests.Nothing, labels.EffectsView),
    ApiRoute(
        method="POST",
        path="/v1/labels/import",
        role="label",
        handler=labels.import_,
        body=requests.ToolItem,
        batch=True,
        reply=labels.ImportedLabelsView,
    ),
    _get("look", "/v1/golden", evidence_views.golden, evidence_views.GoldenView),
    _get("look", "/v1/status", control.status, responses.StatusView),
    _get("look", "/v1/intents", control.intents, list[health_views.IntentView]),
    _get("decide", "/v1/synthesis", control.synthesis, responses.SynthesisView),
    _get("look", "/v1/turns", control.turns, list[responses.TurnView]),
    _post(
        "decide", "/v1/turns", control.start_turn, requests.Nothing, responses.TurnDetailView, 202
    ),
    _get("look", "/v1/turns/{id}", control.one_turn, responses.TurnDetailView),
    _get(
        "decide",
        "/v1/turns/{id}/refused",
        not_learned.refused_samples,
        list[not_learned.RefusedSampleView],
    ),
    _post(
        "decide",
        "/v1/turns/{id}/cancel",
        control.cancel_turn,
        requests.Nothing,
        responses.TurnDetailView,
    ),
    _get("look", "/v1/decisions", control.decisions, list[responses.DecisionView]),
    _get("look", "/v1/decisions/{id}", control.one_decision, responses.DecisionDetailView),
    _get("look", "/v1/decisions/{id}/verify", control.verify, responses.VerifiedView),
    _post(
        "decide",
        "/v1/decisions/{id}/approve",
        control.approve,
        requests.Approval,
        responses.DecisionDetailView,
    ),
    _post(
        "decide",
        "/v1/decisions/{id}/reject",
        control.reject,
        requests.Reason,
        responses.DecisionDetailView,
    ),
    _get("look", "/v1/acts", control.acts, list[responses.ActView]),
    _get("look", "/v1/adapters", control.adapters, list[responses.AdapterView]),
    _post(
        "decide", "/v1/rollback", control.rollback, requests.Rollback, responses.DecisionDetailView
    ),
    _post("admin", "/v1/reload", operations.reload, requests.Nothing, operations.ReloadedView),
    _get("admin", "/v1/check", operations.check, operations.IntegrityView),
    _text("admin", "/v1/backup", operations.backup, "application/octet-stream"),
    ApiRoute(
        method="POST",
        path="/v1/restore",
        role="admin",
        handler=operations.restore,
        file=True,
        reply=operations.RestoredView,
        status=202,
    ),
    _text("look", "/metrics", control.metrics_page),
    _text("anyone", "/healthz", control.healthz),
    _text("anyone", "/readyz", control.readyz),
    _text("look", "/", page.page, "text/html"),
)
