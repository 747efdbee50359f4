"""Counts and durations of answered requests, for any process that answers HTTP.

Names, counts and seconds, never text. They live as long as the process and belong to one
application.
"""

from __future__ import annotations

import re
import time

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_MOST_REASONS = 60  # series of a counter; a sender may not make them
_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

# Else each series has a second one with the time of its first count. The function is untyped.
disable_created_metrics()  # type: ignore[no-untyped-call]


class RequestMetrics:
    """Counts of answered requests and of events; safe from any thread."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # memory, processor time, files, start
        self._events = Counter(
            "flywheel_events",
            "Events since the start, by kind and outcome.",
            ("kind", "outcome"),
            registry=self.registry,
        )
        self._requests = Counter(
            "flywheel_http_requests",
            "Requests answered since the start.",
            ("route", "method", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "flywheel_http_request_seconds",
            "Seconds from a request's arrival to its answer's end.",
            ("route",),
            buckets=_BUCKETS_S,
            registry=self.registry,
        )

        self._not_taken = Counter(
            "flywheel_lines_not_taken",
            "Lines rejected or skipped since the start, by what they were sent as and why.",
            ("kind", "format", "outcome", "reason"),
            registry=self.registry,
        )
        self._reasons: set[str] = set()
        self._refused = Counter(
            "flywheel_refused_requests",
            "Requests refused since the start because of who asked, by reason.",
            ("reason",),
            registry=self.registry,
        )

        # A series is looked up by its labels under a lock, which takes longer than to count.
        self._request_series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._event_series: dict[tuple[str, str], Counter] = {}

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """One more request was answered."""
        series = self._request_series.get((route, method, status))
        if series is None:
            counter = self._requests.labels(route, method, status)
            series = self._request_series[route, method, status] = (
                counter,
                self._seconds.labels(route),
            )
        series[0].inc()
        series[1].observe(seconds)

    def refused(self, reason: str) -> None:
        """One more request was refused because of who asked."""
        self._refused.labels(reason).inc()

    def arrived(self, kind: str, **outcomes: int) -> None:
        """Events arrived; `outcomes` are accepted, duplicate and rejected."""
        for outcome, count in outcomes.items():
            series = self._event_series.get((kind, outcome))
            if series is None:
                series = self._event_series[kind, outcome] = self._events.labels(kind, outcome)
            if count:
                series.inc(count)

    def not_taken(
        self, kind: str, outcome: str, why: str, *, format: str = "", count: int = 1
    ) -> None:
        """Lines were rejected or skipped; the reason is told without what a sender wrote."""
        reason = reason_class(why)
        if reason not in self._reasons and len(self._reasons) >= _MOST_REASONS:
            reason = "other"
        self._reasons.add(reason)
        self._not_taken.labels(kind, format, outcome, reason).inc(count)


def reason_class(why: str) -> str:
    """A reason without its values: what is quoted, what follows a colon, and numbers.

    >>> reason_class("`Set Alarm` is 1.2, not in 0..1; `set_alarm`?")
    'is, not in'
    """
    plain = re.sub(
        r"`[^`]*`|“[^”]*”|\"[^\"]*\"|:.*|;.*|0x\w+|(?<![\w-])[\d.]*\d\b", "", why.partition("\n")[0]
    )
    words = re.sub(r"\s+([,.])", r"\1", " ".join(plain.split()))
    return " ".join(words.split()[:6]).strip(" ,.") or "other"


class Meter:
    """Measures each answer by its route, so that an id in a path makes no series of its own."""

    def __init__(self, app: ASGIApp, requests: RequestMetrics) -> None:
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
