"""A thread of the daemon that works in the background until it is told to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable


class BackgroundThread:
    """Runs `work` once; `work` looks at `stopping`, and waits by it.

    One work is over soon after `stopping` is set, or `stop` says that it is not.
    """

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        self.stopping = threading.Event()
        self._thread = threading.Thread(target=work, name=name, daemon=True)

    def start(self) -> None:
        """Start it. Returns at once."""
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Tell it to stop, wait so many seconds, and return whether it ended."""
        self.stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
        return not self._thread.is_alive()
