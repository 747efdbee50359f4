"""Events from configured sources into the store, each batch with its source's cursor."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from flywheel import intake
from flywheel.sources import Runner
from flywheel.store import events
from flywheel.turn import Runtime

log = logging.getLogger(__name__)


class Feed:
    """The configured sources, feeding one runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._runner = Runner(
            runtime.config.sources,
            runtime.config.root / "plugins",
            commit=self._commit,
            cursor_of=self._cursor_of,
            now=runtime.clock,
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

    def problems(self) -> tuple[str, ...]:
        """A sentence for each source that fails again and again at the same place."""
        return self._runner.problems()

    def _commit(self, name: str, batch: Sequence[Mapping[str, Any]], cursor: str) -> None:
        """One transaction for the events, native or foreign, and the cursor behind them."""
        receipt = intake.accept_from_source(self._runtime, name, batch, cursor)
        if receipt.rejected:
            log.warning(
                "source %s: %d events were rejected",
                name,
                len(receipt.rejected),
                extra={"event": "source.rejected", "source": name, "count": len(receipt.rejected)},
            )

    def _cursor_of(self, name: str) -> str | None:
        with self._runtime.store.read() as con:
            return events.source_cursor(con, name)
