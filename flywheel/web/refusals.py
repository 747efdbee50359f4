"""Refused requests: each is counted, and told once in a while. No I/O but the log.

What is kept is bounded: a stranger can send as much as they like from as many addresses.
"""

from __future__ import annotations

import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from flywheel.web.request_metrics import RequestMetrics

log = logging.getLogger(__name__)

Reason = Literal["host", "origin", "no_token", "wrong_token", "role"]
"""Why a request is refused, as the metric names it."""

_SAID: Mapping[Reason, str] = {
    "host": "for another server",
    "origin": "from a web page",
    "no_token": "without a token",
    "wrong_token": "with a wrong token",
    "role": "without the role",
}

WINDOW_S = 60.0
"""Refusals of one kind are told once in so many seconds."""
WRONG_TOKENS = 10
"""Of one address in `WINDOW_S`; any more of them are answered 429."""
MOST_KEPT = 4096
"""Kinds, callers or addresses that are remembered; those seen longest ago are forgotten."""


@dataclass(slots=True)
class _Window:
    began: float
    count: int = 0


class _Windows:
    """Counts by key, each over `WINDOW_S` from its first on."""

    def __init__(self) -> None:
        self._by_key: OrderedDict[object, _Window] = OrderedDict()

    def add(self, key: object, now: float) -> tuple[_Window, _Window | None]:
        """The key's window with one more in it; and the one before, where this is a new one."""
        before = self._by_key.pop(key, None)
        is_new = before is None or now - before.began >= WINDOW_S
        window = _Window(now) if before is None or is_new else before
        window.count += 1
        self._by_key[key] = window
        if len(self._by_key) > MOST_KEPT:
            self._by_key.popitem(last=False)
        return window, (before or _Window(now)) if is_new else None


class Refusals:
    """Counts refused requests; says when one is to be told, and when an address has to wait."""

    def __init__(
        self, metrics: RequestMetrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._metrics = metrics
        self._clock = clock
        self._told = _Windows()
        self._wrong = _Windows()

    def count(self, reason: Reason, who: str) -> None:
        """One more; logged with how many there were since the last line."""
        self._metrics.refused(reason)
        if (many := self.to_be_told(reason)) is not None:
            log.warning(
                "refused %s %s, the last of %s",
                "a request" if many == 1 else f"{many} requests",
                _SAID[reason],
                who,
                extra={"event": "api.refused", "reason": reason, "count": many},
            )

    def wrong_token(self, address: str) -> int:
        """Count a wrong token; returns the seconds that its sender has to wait, 0 for none."""
        self.count("wrong_token", address)
        now = self._clock()
        window, _ = self._wrong.add(address, now)
        if window.count <= WRONG_TOKENS:
            return 0
        return max(1, math.ceil(window.began + WINDOW_S - now))

    def to_be_told(self, kind: object) -> int | None:
        """How many of this kind there were since it was told last; None: it was told just now."""
        _, before = self._told.add(kind, self._clock())
        return None if before is None else max(1, before.count)
