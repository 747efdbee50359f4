"""`GET /v1/models`: the adapter that answers, by its content hash, and `champion`, its alias."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from flywheel.inference.openai_call import CHAMPION
from flywheel.inference.refused import NotServable
from flywheel.inference.service import AnswerService
from flywheel.web.http import answer


class ServedModelView(msgspec.Struct, kw_only=True):
    """A model that can be named in a request."""

    id: str
    object: str
    created: int
    owned_by: str


class ServedModelsView(msgspec.Struct, kw_only=True):
    """Every model that can be named in a request."""

    object: str
    data: list[ServedModelView]


async def list_models(request: Request) -> Response:
    """List the models that can be named in a request, in OpenAI's form."""
    service: AnswerService = request.app.state.service
    return answer({"object": "list", "data": _models(service)})


async def one_model(request: Request) -> Response:
    """Show one model, in OpenAI's form."""
    service: AnswerService = request.app.state.service
    name = request.path_params["id"]
    for model in _models(service):
        if model["id"] == name:
            return answer(model)
    raise NotServable(
        f"the model `{name[:100]}` is not served here",
        hint="GET /v1/models lists those that are",
        param="model",
        code="model_not_found",
        status=404,
    )


def _models(service: AnswerService) -> list[dict[str, Any]]:
    current = service.adapters.current
    names = ([current.id] if current else []) + ([CHAMPION] if service.ready else [])
    created = current.created if current else 0
    return [
        {"id": name, "object": "model", "created": created, "owned_by": "flywheel"}
        for name in dict.fromkeys([*names, *service.former_models])
    ]
