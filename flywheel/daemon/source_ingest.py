"""Events from configured sources into the store, each batch with its source's cursor."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from flywheel import formats
from flywheel.api import ingest
from flywheel.sources import Runner
from flywheel.store import events
from flywheel.turn import Wheel

log = logging.getLogger(__name__)


class Feed:
    """The configured sources, feeding one wheel."""

    def __init__(self, wheel: Wheel) -> None:
        self._wheel = wheel
        self._runner = Runner(
            wheel.config.sources,
            wheel.config.root / "plugins",
            commit=self._commit,
            cursor_of=self._cursor_of,
            now=wheel.clock,
        )

    def start(self) -> None:
        """Start every source in a thread of its own."""
        self._runner.start()

    def stop(self, timeout: float) -> tuple[str, ...]:
        """Stop every source; returns the names of those that did not within `timeout` seconds."""
        return self._runner.stop(timeout)

    def states(self) -> list[dict[str, Any]]:
        """How each source does, as `status` shows it."""
        return self._runner.states()

    def _commit(self, name: str, batch: Sequence[Mapping[str, Any]], cursor: str) -> None:
        """One transaction for the events, native or foreign, and the cursor behind them."""
        lines = map(msgspec.json.encode, batch)
        parsed = formats.read_lines(None, lines, **ingest.reading(self._wheel))
        with self._wheel.store.write() as con:
            ingest.store(self._wheel, con, f"source {name}", parsed)
            events.set_cursor(con, name, cursor, self._wheel.clock())
        if parsed.rejected:
            log.warning(
                "source %s: %d events were rejected",
                name,
                len(parsed.rejected),
                extra={"event": "source.rejected", "source": name, "count": len(parsed.rejected)},
            )

    def _cursor_of(self, name: str) -> str | None:
        with self._wheel.store.read() as con:
            return events.cursor(con, name)
