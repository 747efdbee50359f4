"""What the daemon knows of itself and the database does not: for status, readiness and metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flywheel.api.prometheus import RequestMetrics
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
    requests: RequestMetrics = field(default_factory=RequestMetrics)
    started: float = field(default_factory=time.monotonic)

    @property
    def uptime_s(self) -> float:
        """Seconds since the daemon was built."""
        return time.monotonic() - self.started
