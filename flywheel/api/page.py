"""The review page: what waits, what fails and what ran. It shows and changes nothing.

Self-contained and without script. The template is `page.html`; everything put into it is escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from flywheel.api import views
from flywheel.api.control import status_of

_STYLE = files("flywheel.api").joinpath("page.css").read_text(encoding="utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_TURNS_SHOWN = 10

_templates = Environment(
    loader=PackageLoader("flywheel.api", ""),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    auto_reload=False,
)
_templates.filters["percent"] = "{:.1%}".format


async def page(request: Request) -> Response:
    """The review page."""
    return HTMLResponse(await run_in_threadpool(_read, request), headers=_HEADERS)


def render(
    status: Mapping[str, Any],
    pending: Sequence[Mapping[str, Any]],
    intents: Sequence[Mapping[str, Any]],
    turns: Sequence[Mapping[str, Any]],
) -> str:
    """The page's HTML, from the JSON of the views."""
    return _templates.get_template(
        "page.html"
    ).render(
        style=Markup(_STYLE),  # noqa: S704  our own file, whose hash the policy names
        headline=_headline(status),
        status=status,
        pending=pending,
        intents=intents,
        turns=turns[:_TURNS_SHOWN],
    )


def _read(request: Request) -> str:
    runtime = request.app.state.runtime
    status = status_of(request)
    pending = [views.decision_view(runtime, one) for one in status.backlog.held]
    return render(
        *map(
            msgspec.to_builtins,
            (status, pending, views.intents(runtime), views.turns_view(runtime)),
        )
    )


def _headline(status: Mapping[str, Any]) -> str:
    turn = status["turn"]
    doing = f"{turn['id']} runs: {turn['state']}" if turn else "no turn runs"
    following = f"next turn {status['next_turn']}" if status["next_turn"] else "no turn scheduled"
    champion = f"champion {status['champion']}" if status["champion"] else "no champion yet"
    return f"{champion} · {doing} · {following} · version {status['version']}"
