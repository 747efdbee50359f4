"""`/metrics` for Prometheus, and what the daemon knows of itself beside the database.

Names, counts and seconds, never text. Counters and histograms live as long as the process and
belong to one application. Gauges are made of the `status` view at each scrape, so that they agree
with what people read.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flywheel.errors import Refused

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_MOST_REASONS = 60  # series of a counter; a sender may not make them
_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

# Else each series has a second one with the time of its first count. The function is untyped.
disable_created_metrics()  # type: ignore[no-untyped-call]


class RequestMetrics:
    """Counts of answered requests and of events; safe from any thread."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
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


def render(status: Mapping[str, Any], requests: RequestMetrics, *, unserved: bool = False) -> bytes:
    """The metrics page in the text format, from the same `status` that people read.

    Args:
        status: the view, as plain objects.
        requests: counts since the start.
        unserved: the champion is not served as it was trained.
    """
    now = CollectorRegistry()
    now.register(_StatusGauges(status, unserved=unserved))
    return generate_latest(now) + generate_latest(requests.registry)


class _StatusGauges(Collector):
    """One gauge for each count of a `status` view."""

    def __init__(self, status: Mapping[str, Any], *, unserved: bool) -> None:
        self._status = status
        self._unserved = unserved

    def collect(self) -> Iterator[Metric]:
        status, backlog = self._status, self._status["backlog"]
        about = {"version": status["version"], "champion": status["champion"] or ""}
        info = GaugeMetricFamily("flywheel_info", "Version and champion.", labels=list(about))
        info.add_metric(list(about.values()), 1)
        yield info
        for name, meaning, value in (
            ("uptime_seconds", "Since the start.", status["uptime_s"]),
            ("predictions", "Predictions stored.", backlog["predictions"]),
            ("feedback", "Feedback stored.", backlog["feedback"]),
            ("feedback_waiting", "Its prediction is missing.", backlog["waiting_feedback"]),
            ("decisions_pending", "Waiting for a person.", len(backlog["held"])),
            ("labels_wanted", "Asked for by gates.", sum(backlog["labels_wanted"].values())),
            ("golden_queries_left", "Of this generation.", status["golden"]["queries_left"]),
            ("turn_open", "1 while a turn runs.", int(bool(status["turn"]))),
            ("champion_unserved", "1 while it is not served as trained.", int(self._unserved)),
            ("problems", "Problems that `flywheel status` names.", len(status["problems"])),
            ("rejected_lines", "Kept, not taken.", backlog["rejected"]),
            ("scores", "Of other tools, as seen.", status["input"]["scores"]),
            (
                "sources_stuck",
                "That fail at one place again and again.",
                sum(bool(source["stuck"]) for source in status["sources"]),
            ),
        ):
            yield GaugeMetricFamily(f"flywheel_{name}", meaning, value=value)
        loaded = GaugeMetricFamily(
            "flywheel_events_loaded", "Events loaded since the start.", labels=["outcome"]
        )
        for outcome, count in (status["input"]["loaded"] or {}).items():
            loaded.add_metric([outcome], count)
        yield loaded


# What the daemon knows of itself and the database does not: for status, readiness and metrics.


def _no_sources() -> Sequence[Mapping[str, Any]]:
    return ()


def _no_problems() -> Sequence[str]:
    return ()


def _no_reload() -> Mapping[str, Any]:
    raise Refused("this daemon cannot take on a changed configuration", hint="restart it")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStatus:
    """How the process does; the functions are called from any thread."""

    next_turn: Callable[[], datetime | None] = lambda: None
    sources: Callable[[], Sequence[Mapping[str, Any]]] = _no_sources
    problems: Callable[[], Sequence[str]] = _no_problems
    reload: Callable[[], Mapping[str, Any]] = _no_reload
    restart: Callable[[], None] | None = None  # on the event loop's thread; None: it cannot
    requests: RequestMetrics = field(default_factory=RequestMetrics)
    started: float = field(default_factory=time.monotonic)

    @property
    def uptime_s(self) -> float:
        """Seconds since the daemon was built."""
        return time.monotonic() - self.started
