"""`/metrics` for Prometheus, and what the daemon knows of itself beside the database.

Gauges are made of the `status` view at each scrape, so that they agree with what people read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from flywheel.errors import Refused
from flywheel.web.request_metrics import RequestMetrics

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How much may still be written."""

    spool_used: float  # share of [flywheel] spool_mb, 0..1
    disk_free: int  # bytes, on the disk of the state folder


def render(
    status: Mapping[str, Any],
    requests: RequestMetrics,
    *,
    at: datetime,
    room: Room,
    unserved: bool = False,
    parity_failed: int = 0,
) -> bytes:
    """The metrics page in the text format, from the same `status` that people read.

    Args:
        status: the view, as plain objects.
        requests: counts since the start.
        at: the time of the view.
        room: how much may still be written.
        unserved: the champion is not served as it was trained.
        parity_failed: decisions whose adapter the server answered for otherwise than evaluated.
    """
    now = CollectorRegistry()
    now.register(
        _StatusGauges(status, at=at, room=room, unserved=unserved, parity_failed=parity_failed)
    )
    return generate_latest(now) + generate_latest(requests.registry)


class _StatusGauges(Collector):
    """One gauge for each count of a `status` view."""

    def __init__(
        self,
        status: Mapping[str, Any],
        *,
        at: datetime,
        room: Room,
        unserved: bool,
        parity_failed: int,
    ) -> None:
        self._status = status
        self._at = at
        self._room = room
        self._unserved = unserved
        self._parity_failed = parity_failed

    def collect(self) -> Iterator[Metric]:
        status, backlog, serving = self._status, self._status["backlog"], self._status["serving"]
        parity, watch = serving["parity"] or {}, status["watch"]
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
            ("turn_open_seconds", "Since it was opened; 0 where none is.", self._turn_open_s()),
            ("spool_used_ratio", "Share of [flywheel] spool_mb in use.", self._room.spool_used),
            ("state_free_bytes", "Free on the state folder's disk.", self._room.disk_free),
            ("champion_unserved", "1 while it is not served as trained.", int(self._unserved)),
            ("decisions_parity_failed", "Kept out by the server.", self._parity_failed),
            ("decisions_applying", "Waiting for the server.", int(bool(serving["applying"]))),
            ("parity_asked", "Texts of the last round.", parity.get("asked", 0)),
            ("parity_differing", "Answered otherwise than evaluated.", parity.get("differing", 0)),
            ("watch_open", "1 while two champions answer.", int(bool(watch["since"]))),
            ("watch_harm", "1 while harm is seen.", int(watch["state"] == "harm")),
            ("watch_e_value", "Against no harm; 1/alpha shows it.", watch["e_value"] or 0.0),
            ("traffic_alarms", "Raised last week.", sum(a["raised"] for a in watch["alarms"])),
            ("serving_waits", "1 while something waits for it.", int(bool(serving["waiting"]))),
            ("redo_bytes", "Of the redo log.", status["redo"]["bytes"]),
            ("redo_replayed", "Transactions repeated at the start.", status["redo"]["replayed"]),
            ("redo_lost", "Transactions lost at the start.", status["redo"]["lost"]),
            ("redo_unproved_seconds", "Since a checkpoint was read back.", self._unproved_s()),
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

    def _unproved_s(self) -> float:
        proved = self._status["redo"]["proved_at"]
        if not proved:
            return float(self._status["uptime_s"])
        return max(0.0, (self._at - datetime.fromisoformat(proved)).total_seconds())

    def _turn_open_s(self) -> float:
        turn = self._status["turn"]
        if not turn:
            return 0.0
        opened = datetime.fromisoformat(turn["opened_at"])
        return max(0.0, (self._at - opened).total_seconds())


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
    serving_problems: Callable[[], Sequence[str]] = _no_problems  # of the server of the champion
    redo_problems: Callable[[], Sequence[str]] = _no_problems  # why no checkpoint is proved
    proved_at: Callable[[], datetime | None] = lambda: None  # the last proof of this process
    reload: Callable[[], Mapping[str, Any]] = _no_reload
    restart: Callable[[], None] | None = None  # on the event loop's thread; None: it cannot
    requests: RequestMetrics = field(default_factory=RequestMetrics)
    started: float = field(default_factory=time.monotonic)

    @property
    def uptime_s(self) -> float:
        """Seconds since the daemon was built."""
        return time.monotonic() - self.started
