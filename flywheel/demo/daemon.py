"""A real daemon in a folder of the demo's, and what its users ask of it over the socket."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from flywheel.errors import DaemonUnreachable, FlywheelError
from flywheel.executors.local import LocalExecutor

_READY_S = 60.0
_STOP_S = 20.0
_ASK_AGAIN_S = 0.2


class Client:
    """The daemon's HTTP interface on its Unix socket."""

    def __init__(self, path: Path) -> None:
        self._path = path
        transport = httpx.HTTPTransport(uds=str(path))
        self._http = httpx.Client(transport=transport, base_url="http://flywheel", timeout=60.0)

    def get(self, route: str) -> Any:
        """The JSON behind a route."""
        return self._read(self._http.get(route))

    def post(self, route: str, rows: Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> Any:
        """Send one JSON object, or several as NDJSON."""
        if isinstance(rows, Mapping):
            return self._read(self._http.post(route, json=rows))
        body = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        return self._read(
            self._http.post(
                route, content=body.encode(), headers={"content-type": "application/x-ndjson"}
            )
        )

    def ready(self) -> bool:
        """Whether the daemon serves."""
        with socket.socket(socket.AF_UNIX) as door:  # httpx leaks a socket that nobody answers
            try:
                door.connect(str(self._path))
            except OSError:
                return False
        try:
            return self._http.get("/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()

    def _read(self, response: httpx.Response) -> Any:
        body = response.json()
        if response.is_error:
            raise FlywheelError(body.get("error", response.reason_phrase), body.get("hint", ""))
        return body


@contextmanager
def running(config: Path, listening_on: Path) -> Iterator[Client]:
    """Start `flywheel run` as a child process, wait until it serves, and stop it in the end.

    Raises:
        DaemonUnreachable: it ended, or did not serve in time; the message has its last words.
    """
    log = config.parent / "daemon.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "flywheel", "--config", str(config), "run"],
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C reaches the demo, which stops the daemon in order
        )
    client = Client(listening_on)
    try:
        deadline = time.monotonic() + _READY_S
        while not client.ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise DaemonUnreachable("the demo's daemon did not start", hint=_tail(log))
            time.sleep(_ASK_AGAIN_S)
        yield client
    finally:
        client.close()
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _end_workers(listening_on.parent / "jobs")


def _end_workers(jobs: Path) -> None:
    """A worker outlives its daemon, for the next one to find; the demo has no next one."""
    executor = LocalExecutor(jobs)
    for folder in jobs.glob("*/"):
        executor.cancel(folder.name)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:])
