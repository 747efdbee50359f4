"""The other processes of a measurement of serving: the load, the bare loop, the peer."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FASTAPI = "fastapi==0.165.0"
_START_S = 180.0


def load(
    address: Mapping[str, Any],
    texts: Sequence[str],
    seconds: float,
    *,
    connections: int = 0,
    rate: float = 0.0,
    seed: int = 0,
    expected: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The plan of a load: either so many connections, or a rate a second."""
    how = {"rate": rate} if rate else {"connections": connections}
    plan = {"address": address, "texts": texts, "seconds": seconds, "seed": seed, **how}
    return plan | {"expected": expected or {}}


def started(plan: Mapping[str, Any]) -> subprocess.Popen[str]:
    """A load that runs."""
    command = [sys.executable, str(HERE / "http_load.py")]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(plan) + "\n")
    process.stdin.flush()
    return process


def finished(running: subprocess.Popen[str] | Mapping[str, Any]) -> dict[str, Any]:
    """What came of a load, once its time is over; of a plan, once it was run."""
    process = running if isinstance(running, subprocess.Popen) else started(running)
    assert process.stdout is not None
    line = process.stdout.readline()
    process.wait()
    if not line:
        raise RuntimeError("the load ended without a word")
    told: dict[str, Any] = json.loads(line)
    return told


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What came of a load that is ended now."""
    assert process.stdin is not None
    process.stdin.close()
    return finished(process)


class Bare:
    """The library's Router in a process of its own."""

    def __init__(self, adapter: Path, engine: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "bare_loop.py"), str(adapter), engine],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.engine: str = self._read()["engine"]

    def do(self, what: str, texts: Sequence[str]) -> dict[str, Any]:
        """Ask it for one thing: `single`, `batch` or `answers`."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, "texts": list(texts)}) + "\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the bare loop ended")
        said: dict[str, Any] = json.loads(line)
        return said


class Peer:
    """FastAPI and a pipeline, where FastAPI is there or can be installed beside.

    Attributes:
        port: 0 where it cannot run.
        missing: why not.
    """

    def __init__(self, adapter: Path, place: Path) -> None:
        self.port, self.missing, self.pid = 0, "", 0
        self._process: subprocess.Popen[bytes] | None = None
        beside = place / "fastapi"
        pip = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--target",
            str(beside),
        ]
        done = subprocess.run([*pip, FASTAPI], check=False, capture_output=True, text=True)
        if done.returncode:
            self.missing = f"no {FASTAPI}: {done.stderr.strip().splitlines()[-1:]}"
            return
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "peer_fastapi.py"), str(adapter), str(port)],
            env=os.environ | {"PYTHONPATH": str(beside)},
            stderr=subprocess.DEVNULL,
        )
        self.port, self.pid = port, self._process.pid
        self._wait()

    def _wait(self) -> None:
        until = time.monotonic() + _START_S
        while time.monotonic() < until:
            assert self._process is not None
            if self._process.poll() is not None:
                self.port, self.missing = 0, "the peer did not start"
                return
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/healthz")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError("the peer does not answer")

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
