"""The OpenAPI document, assembled from the table of routes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from flywheel import __version__
from flywheel.api.routes import ApiRoute

_ERROR = {
    "description": "refused; the body says why and what to do",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["error", "hint"],
                "properties": {"error": {"type": "string"}, "hint": {"type": "string"}},
            }
        }
    },
}


def document(routes: Sequence[ApiRoute]) -> dict[str, Any]:
    """OpenAPI 3.1 of these routes."""
    bodies = sorted({one.body for one in routes if one.body}, key=lambda body: body.__name__)
    schemas, components = msgspec.json.schema_components(
        bodies, ref_template="#/components/schemas/{name}"
    )
    by_body = dict(zip(bodies, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for one in routes:
        schema = by_body[one.body] if one.body else None
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, schema)
    return {
        "openapi": "3.1.0",
        "info": {"title": "flywheel", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}, {}],
    }


def _operation(route: ApiRoute, schema: dict[str, Any] | None) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "summary": (route.handler.__doc__ or "").splitlines()[0],
        "responses": {
            str(route.status): {"description": "done", "content": {route.media_type: {}}},
            "default": _ERROR,
        },
    }
    names = re.findall(r"{(\w+)}", route.path)
    if names:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in names
        ]
    if schema is not None:
        content = {"application/json": {"schema": schema}}
        if route.batch:
            content["application/x-ndjson"] = {"schema": schema}
        operation["requestBody"] = {"required": route.batch, "content": content}
    if route.file:
        content = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation
