"""Counts for Prometheus, in its text format (version 0.0.4). Names and counts, never text."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flywheel.api.process_status import Requests

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Line = tuple[Mapping[str, str], float]


class Meter:
    """Counts each answer by route, so that an id in a path makes no series of its own."""

    def __init__(self, app: ASGIApp, requests: Requests) -> None:
        self._app = app
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and watch its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._requests.answered(route, scope["method"], status, time.perf_counter() - began)


def render(status: Mapping[str, Any], requests: Requests) -> str:
    """The metrics page, from the same `status` that people read."""
    gauges = [_family(name, "gauge", *line) for name, line in _gauges(status).items()]
    return "".join([*gauges, *_counters(requests)])


def _gauges(status: Mapping[str, Any]) -> dict[str, tuple[str, list[Line]]]:
    """Meaning and lines by name."""
    backlog = status["backlog"]
    plain = {
        "uptime_seconds": ("Since the start.", status["uptime_s"]),
        "predictions": ("Predictions stored.", backlog["predictions"]),
        "feedback": ("Feedback stored.", backlog["feedback"]),
        "feedback_waiting": ("Its prediction has not arrived.", backlog["waiting_feedback"]),
        "decisions_pending": ("Waiting for a person.", len(backlog["held"])),
        "labels_wanted": ("Asked for by gates.", sum(backlog["labels_wanted"].values())),
        "golden_queries_left": ("Of this generation.", status["golden"]["queries_left"]),
        "turn_open": ("1 while a turn runs.", int(bool(status["turn"]))),
        "problems": ("Problems that `flywheel status` names.", len(status["problems"])),
    }
    info = {"version": status["version"], "champion": status["champion"] or ""}
    lines: dict[str, tuple[str, list[Line]]] = {"info": ("Version and champion.", [(info, 1)])}
    return lines | {name: (meaning, [({}, value)]) for name, (meaning, value) in plain.items()}


def _counters(requests: Requests) -> list[str]:
    answered, seconds, events = requests.snapshot()
    return [
        _family(
            "events_total",
            "counter",
            "Events since the start, by kind and outcome.",
            [({"kind": kind, "outcome": what}, n) for (kind, what), n in sorted(events.items())],
        ),
        _family(
            "http_requests_total",
            "counter",
            "Requests answered since the start.",
            [
                ({"route": route, "method": method, "status": str(code)}, n)
                for (route, method, code), n in sorted(answered.items())
            ],
        ),
        _family(
            "http_request_seconds_total",
            "counter",
            "Seconds spent answering.",
            [({"route": route}, spent) for route, spent in sorted(seconds.items())],
        ),
    ]


def _family(name: str, kind: str, meaning: str, lines: Iterable[Line]) -> str:
    name = f"flywheel_{name}"
    head = f"# HELP {name} {meaning}\n# TYPE {name} {kind}\n"
    return head + "".join(f"{name}{_labels(labels)} {value:g}\n" for labels, value in lines)


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    escaped = (
        (key, value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n"))
        for key, value in labels.items()
    )
    return "{" + ",".join(f'{key}="{value}"' for key, value in escaped) + "}"
