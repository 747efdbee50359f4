"""The review page: what waits, what fails and what ran. It shows and changes nothing.

Self-contained and without script; everything that came from outside is escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from flywheel.api import views
from flywheel.api.control import status_of

_STYLE = files("flywheel.api").joinpath("page.css").read_text(encoding="utf-8")
_PAGE = Template(files("flywheel.api").joinpath("page.html").read_text(encoding="utf-8"))
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
    return _PAGE.substitute(
        style=_STYLE,
        headline=_headline(status),
        problems=_problems(status["problems"]),
        pending=_table(
            ("decision", "what", "since"), map(_decision_row, pending), "Nothing waits."
        ),
        intents=_table(
            ("intent", "#predictions", "#labelled", "#errors", "error rate", "confused with"),
            map(_intent_row, intents),
            "No predictions yet.",
        ),
        turns=_table(
            ("turn", "state", "opened by", "opened", "decision"),
            map(_turn_row, turns[:_TURNS_SHOWN]),
            "No turn yet.",
        ),
    )


def _read(request: Request) -> str:
    runtime = request.app.state.runtime
    status = status_of(request)
    pending = [views.decision_view(runtime, one) for one in status["backlog"]["held"]]
    return render(status, pending, views.intents(runtime), views.turns_view(runtime))


def _headline(status: Mapping[str, Any]) -> str:
    turn = status["turn"]
    doing = f"{turn['id']} runs: {turn['state']}" if turn else "no turn runs"
    following = f"next turn {status['next_turn']}" if status["next_turn"] else "no turn scheduled"
    champion = f"champion {status['champion']}" if status["champion"] else "no champion yet"
    return escape(f"{champion} · {doing} · {following} · version {status['version']}")


def _problems(problems: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(problem)}</li>" for problem in problems)
    return f'<ul class="problems">{items}</ul>' if items else ""


def _decision_row(decision: Mapping[str, Any]) -> list[str]:
    wanted = sum(decision["labels_wanted"].values())
    more = f' <span class="dim">Labels wanted: {wanted}.</span>' if wanted else ""
    return [
        _cell(decision["id"]),
        f"<td>{escape(decision['summary'])}{more}</td>",
        _cell(decision["at"]),
    ]


def _intent_row(intent: Mapping[str, Any]) -> list[str]:
    rate = intent["error_rate"]
    shown = "–" if rate is None else f"{rate:.1%} ({intent['low']:.1%} to {intent['high']:.1%})"
    confused = ", ".join(f"{one['intent']} ×{one['count']}" for one in intent["confused_with"][:3])
    return [
        _cell(intent["intent"], "failing" if intent["failing"] else ""),
        *(_cell(intent[name], "number") for name in ("predictions", "feedback", "errors")),
        _cell(shown),
        _cell(confused),
    ]


def _turn_row(turn: Mapping[str, Any]) -> list[str]:
    return [_cell(turn[name]) for name in ("id", "state", "trigger", "opened_at", "decision")]


def _table(head: Sequence[str], rows: Iterable[list[str]], empty: str) -> str:
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    if not body:
        return f'<p class="dim">{escape(empty)}</p>'
    cells = "".join(
        f'<th class="number">{escape(name[1:])}</th>'
        if name.startswith("#")
        else f"<th>{escape(name)}</th>"
        for name in head
    )
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: object, kind: str = "") -> str:
    shown = escape("" if value is None else str(value))
    return f'<td class="{kind}">{shown}</td>' if kind else f"<td>{shown}</td>"
