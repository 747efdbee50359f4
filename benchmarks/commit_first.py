"""The other design, for comparison: a request is answered when its DuckDB transaction is committed.

Requests that wait share one transaction, as those of the spool share one fdatasync.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from pathlib import Path
from typing import Any, cast

import uvloop

from flywheel import formats
from flywheel.api import ProcessStatus
from flywheel.config import load
from flywheel.daemon.http_server import server_of
from flywheel.daemon.wiring import built
from flywheel.spool import Done
from flywheel.store import Store, spooled
from flywheel.web.sockets import listening


class GroupCommit:
    """Stands where the loader and its spool stand."""

    def __init__(self, store: Store) -> None:
        self.spool = self
        self._store = store
        self._waiting: list[tuple[bytes, Done]] = []
        self._state = threading.Condition()
        threading.Thread(target=self._run, daemon=True).start()

    def append(self, lines: bytes, done: Done) -> None:
        """Commit these lines with the next group."""
        with self._state:
            self._waiting.append((lines, done))
            self._state.notify()

    def drain(self) -> None:
        """Nothing waits that was acknowledged."""

    def _run(self) -> None:
        while True:
            with self._state:
                while not self._waiting:
                    self._state.wait()
                group, self._waiting = self._waiting, []
            rows, _ = formats.rows_of(b"".join(lines for lines, _ in group))
            with self._store.write() as con:
                spooled.load_rows(con, rows)
            for _, done in group:
                done(None)


def serve(folder: Path) -> None:
    """Serve this folder until the process is ended."""
    config = load(folder / "config.toml")
    with (
        built(config) as runtime,
        listening(config.socket_path, "") as sockets,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        group = cast(Any, GroupCommit(runtime.store))
        gc.collect()
        gc.freeze()  # as the daemon does
        runner.run(server_of(runtime, group, ProcessStatus()).serve(sockets))
