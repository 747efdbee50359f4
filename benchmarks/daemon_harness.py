"""A real daemon in a fresh folder, asked over its own socket as any client would."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from flywheel.cli.client import DaemonClient as Client
from flywheel.errors import DaemonUnreachable

START_S = 600.0  # a busy machine is slow, and a daemon that ends is seen at once
STOP_S = 30.0
ENDED = frozenset({"done", "failed", "cancelled", "held"})  # states in which a turn rests


class ChildProcess:
    """A process over a folder, from `with` to its end: by SIGTERM, then by SIGKILL."""

    stop_s = STOP_S
    """Between the two."""

    _process: subprocess.Popen[bytes] | None = None

    def _start(self, command: Sequence[str], folder: Path, said: str) -> subprocess.Popen[bytes]:
        """Start the command in the folder; the file `said` there gets what it says."""
        with (folder / said).open("ab") as file:
            self._process = subprocess.Popen(command, cwd=folder, stdout=file, stderr=file)
        return self._process

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(self.stop_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """End it by SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()


class RunningDaemon(ChildProcess):
    """`flywheel run` over `folder`, from `with` to its end."""

    def __init__(self, folder: Path, config: str, intents: Sequence[str]) -> None:
        self.folder = folder
        self.state_dir = folder / "var"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.toml").write_text(config, encoding="utf-8")
        tools = [
            {"type": "function", "function": {"name": name, "description": name.replace("_", " ")}}
            for name in intents
        ]
        (folder / "intents.json").write_text(json.dumps(tools), encoding="utf-8")
        self._of_thread = threading.local()

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "flywheel", "run", "--config", "config.toml"]
        process = self._start(command, self.folder, "daemon.err")
        until = time.monotonic() + START_S
        while True:
            try:
                self.get("status")
            except DaemonUnreachable:
                code = process.poll()
                if code is not None or time.monotonic() > until:
                    self.__exit__(None, None, None)
                    how = (
                        f"ended by itself, {code}" if code is not None else "did not start in time"
                    )
                    raise RuntimeError(f"the daemon {how}: {self._last_words()}") from None
                time.sleep(0.1)
            else:
                return self

    @property
    def _client(self) -> Client:
        """The client of this thread: its one connection is for one caller at a time."""
        if not hasattr(self._of_thread, "client"):
            self._of_thread.client = Client(self.state_dir / "flywheel.sock", timeout_s=600.0)
        client: Client = self._of_thread.client
        return client

    def get(self, *segments: str, **query: str) -> Any:
        """GET /v1/`segments`."""
        return self._client.get(*segments, query=query).value

    def post(self, *segments: str, **body: Any) -> Any:
        """POST a JSON object to /v1/`segments`."""
        return self._client.post(*segments, value=body).value

    def post_lines(self, kind: str, events: Iterable[Mapping[str, Any]]) -> Any:
        """POST events as NDJSON; every one must be taken."""
        lines = [json.dumps(event, ensure_ascii=False) for event in events]
        answer = self._client.post_lines(kind, lines="\n".join(lines).encode()).value
        if answer["rejected"] or answer["accepted"] + answer["duplicates"] != len(lines):
            raise RuntimeError(f"{kind}: {answer}")
        return answer

    def start_turn(self) -> str:
        """Open a turn now; returns its id."""
        return str(self.post("turns")["id"])

    def wait_for(self, turn: str, poll_s: float = 0.2) -> dict[str, Any]:
        """The turn once it rests: done, held, failed or cancelled.

        Raises:
            RuntimeError: it failed; the daemon's last words are in it.
        """
        while (view := self._turn_now(turn))["state"] not in ENDED:
            time.sleep(poll_s)
        if view["state"] in ("failed", "cancelled"):
            raise RuntimeError(f"{turn} {view['state']}: {view['error']} {self._last_words()}")
        return view

    def _turn_now(self, turn: str) -> dict[str, Any]:
        """The turn; asked again where the daemon lives and only did not answer in time."""
        while True:
            try:
                view: dict[str, Any] = self.get("turns", turn)
            except DaemonUnreachable:
                if self._process is None or self._process.poll() is not None:
                    raise
                time.sleep(1.0)
            else:
                return view

    def champion(self) -> Path:
        """The folder of the adapter in service.

        Raises:
            RuntimeError: there is none.
        """
        name = self.get("status")["champion"]
        if not name:
            raise RuntimeError("the daemon has no champion")
        return self.state_dir / "adapters" / name

    def _last_words(self) -> str:
        return (self.folder / "daemon.err").read_text(encoding="utf-8", errors="replace")[-3000:]
