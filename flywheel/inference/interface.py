"""Every path of the inference process, and the application that answers them."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route

from flywheel.errors import FlywheelError
from flywheel.inference import (
    chat_form,
    feedback,
    models,
    native_form,
    refused,
    responses_form,
    steering,
)
from flywheel.inference.concurrency import ClientGone
from flywheel.inference.service import AnswerService
from flywheel.inference.upstream import UpstreamFailed, of_client_gone, of_upstream_failed
from flywheel.web.guard import BearerToken, Guard
from flywheel.web.http import Forbidden
from flywheel.web.openapi import ApiRoute, Needed, describing, document, gated_by_role
from flywheel.web.refusals import Refusals
from flywheel.web.request_metrics import Meter


def _get(role: Needed, path: str, handler: Any, reply: Any) -> ApiRoute:
    return ApiRoute(method="GET", path=path, role=role, handler=handler, reply=reply)


def _text(role: Needed, path: str, handler: Any) -> ApiRoute:
    return ApiRoute(method="GET", path=path, role=role, handler=handler, media_type="text/plain")


def _openai(
    path: str, handler: Any, body: type[Any] | None, reply: Any, method: str = "POST"
) -> ApiRoute:
    return ApiRoute(
        method=method, path=path, role="ask", handler=handler, body=body, reply=reply, openai=True
    )


def _post(role: Needed, path: str, handler: Any, body: type[Any], reply: Any) -> ApiRoute:
    return ApiRoute(method="POST", path=path, role=role, handler=handler, body=body, reply=reply)


# `ask` asks what answers traffic, `prove` any loaded adapter. `look` reads figures. What steers
# takes the server's own Unix socket, beside `admin`.

SERVE_ROUTES: tuple[ApiRoute, ...] = (
    ApiRoute(
        method="POST",
        path="/v1/predict",
        role="ask",
        or_role="prove",
        handler=native_form.predict,
        body=native_form.PredictRequest,
        reply=native_form.PredictedView,
    ),
    _openai(
        "/v1/chat/completions",
        chat_form.chat_completions,
        chat_form.ChatRequest,
        chat_form.ChatView,
    ),
    _openai(
        "/v1/responses",
        responses_form.responses,
        responses_form.ResponsesRequest,
        responses_form.ResponseView,
    ),
    _openai("/v1/models", models.list_models, None, models.ServedModelsView, "GET"),
    _openai("/v1/models/{id}", models.one_model, None, models.ServedModelView, "GET"),
    ApiRoute(
        method="POST",
        path="/v1/feedback",
        role="ask",
        or_role="ingest",
        handler=feedback.feedback,
        body=feedback.ServedFeedback,
        batch=True,
        reply=feedback.KeptView,
        status=202,
        refused=422,
    ),
    _get("admin", "/v1/serving", steering.serving, steering.ServingView),
    _post(
        "admin",
        "/v1/serving/prepare",
        steering.prepare,
        steering.AdapterName,
        steering.PreparedView,
    ),
    _post(
        "admin", "/v1/serving/switch", steering.switch, steering.MaybeAdapter, steering.ServingView
    ),
    _post("admin", "/v1/serving/drop", steering.drop, steering.AdapterName, steering.ServingView),
    _text("look", "/metrics", steering.metrics_page),
    _text("anyone", "/healthz", steering.healthz),
    _text("anyone", "/readyz", steering.readyz),
)


def create_serve_app(
    service: AnswerService,
    *,
    tokens: Sequence[BearerToken] = (),
    hosts: frozenset[str] = frozenset(),
) -> Starlette:
    """The application of one service.

    Args:
        service: what the requests ask.
        tokens: of TCP; without any only the Unix socket admits.
        hosts: further names this server is reached by, with dots in them.
    """
    refusals = Refusals(service.metrics.requests)
    guard = Middleware(
        Guard,
        tokens=tokens,
        hosts=hosts | {socket.gethostname().lower(), "localhost"},
        main_socket="",
        refusals=refusals,
        refuse=refused.refuse,
    )
    described = document(SERVE_ROUTES, "flywheel serve")
    app = Starlette(
        routes=[
            *(Route(one.path, gated_by_role(one), methods=[one.method]) for one in SERVE_ROUTES),
            Route("/openapi.json", describing(described)),
        ],
        middleware=[Middleware(Meter, requests=service.metrics.requests), guard],
        exception_handlers={
            Forbidden: refused.of_forbidden,
            UpstreamFailed: of_upstream_failed,
            ClientGone: of_client_gone,
            FlywheelError: refused.of_flywheel_error,
            HTTPException: refused.of_http_exception,
            OSError: refused.of_os_error,
            Exception: refused.of_defect,
        },
    )
    app.state.service = service
    app.state.refusals = refusals
    return app
