"""What the daemon knows of itself and the database does not: for status, readiness and metrics."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flywheel.errors import Refused


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
    requests: Requests = field(default_factory=lambda: Requests())
    started: float = field(default_factory=time.monotonic)

    @property
    def uptime_s(self) -> float:
        """Seconds since the daemon was built."""
        return time.monotonic() - self.started


class Requests:
    """Counts answered requests by route, method and status; events by kind and outcome."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answered: Counter[tuple[str, str, int]] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._events: Counter[tuple[str, str]] = Counter()

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """One more request was answered."""
        with self._lock:
            self._answered[route, method, status] += 1
            self._seconds[route] += seconds

    def arrived(self, kind: str, **outcomes: int) -> None:
        """Events arrived; `outcomes` are accepted, duplicate and rejected."""
        with self._lock:
            for outcome, count in outcomes.items():
                self._events[kind, outcome] += count

    def snapshot(
        self,
    ) -> tuple[dict[tuple[str, str, int], int], dict[str, float], dict[tuple[str, str], int]]:
        """Answered by (route, method, status); seconds by route; events by (kind, outcome)."""
        with self._lock:
            return dict(self._answered), dict(self._seconds), dict(self._events)
