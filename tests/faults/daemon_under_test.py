"""A real daemon as a child process, to be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from flywheel.demo.grammar import STARTER
from flywheel.demo.production import DemoClient
from tests.waiting import CEILING_S, until

CONFIG = """
[model]
threads = 1
[intents]
file = "intents.toml"
[schedule]
cron = ""
[gates.overall]
profile = "fast"
[gates.intents]
margin = 0.50
[promotion]
mode = "auto"
bootstrap = "auto"
"""


class Daemon:
    """`flywheel run` on a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.client = DemoClient(folder / "var" / "flywheel.sock")
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *error: object) -> None:
        self.client.close()
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def start(self) -> None:
        with (self.folder / "daemon.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flywheel", "-c", str(self.folder / "config.toml"), "run"],
                stdout=log,
                stderr=log,
            )
        until(self.client.ready, "the daemon is ready")

    def kill(self) -> None:
        """`kill -9`, as the kernel does it when memory runs out."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        assert self.process.wait(CEILING_S) == 0

    def kill_worker(self, job: str) -> None:
        worker = json.loads((self.job(job) / "worker.json").read_text())
        os.killpg(int(worker["handle"].partition(":")[0]), signal.SIGKILL)

    def job(self, name: str) -> Path:
        return self.folder / "var" / "jobs" / name

    def turn(self) -> dict[str, Any]:
        """Run one turn, undisturbed."""
        opened = self.client.post("/v1/turns", {})
        return self.ended(opened["id"])

    def ended(self, turn_id: str) -> dict[str, Any]:
        def over() -> bool:
            state = self.client.get(f"/v1/turns/{turn_id}")["state"]
            return state in ("done", "failed", "cancelled", "held")

        until(over, f"{turn_id} has ended")
        return self.client.get(f"/v1/turns/{turn_id}")


def starter_rows(split: str) -> list[dict[str, Any]]:
    text = (STARTER / f"{split}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines() if line.strip()]
