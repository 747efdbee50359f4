"""A real daemon and a real `flywheel serve` of one router, in a fresh folder.

Two adapters are trained by two real turns on a labelled set; the champion is changed through the
daemon's own routes. Processor seconds are read from /proc; either process may be ended by SIGKILL.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from daemon_harness import ChildProcess, RunningDaemon
from partition import Partition, Quota, Row, deal, read

from flywheel.unix_socket import UnixConnection

CONFIG = """
[flywheel]
state_dir = "var"
log_level = "warning"
[intents]
file = "intents.json"
[model]
threads = {threads}
[schedule]
cron = ""
[training]
min_new_samples = 0
recipe = "{recipe}"
[promotion]
mode = "review"
bootstrap = "auto"
allow_override = ["overall", "intents", "changed_answers"]
[serving]
kind = "local"
parity_texts = {parity_texts}
"""
_TICKS = os.sysconf("SC_CLK_TCK")
_START_S = 180.0
_SWITCH_S = 300.0


class RunningServer(ChildProcess):
    """`flywheel serve` over a folder that a daemon made, from `with` to its end."""

    stop_s = 60.0

    def __init__(self, folder: Path, command: Sequence[str] = ()) -> None:
        self.socket = folder / "var" / "serve.sock"
        self._folder = folder
        self._command = command or (sys.executable, "-m", "flywheel", "serve")

    def __enter__(self) -> Self:
        command = [*self._command, "--config", "config.toml"]
        process = self._start(command, self._folder, "server.err")
        until = time.monotonic() + _START_S
        while self.status("/healthz") != 200:
            if process.poll() is not None or time.monotonic() > until:
                self.kill()
                raise RuntimeError(f"the server did not start: {self._last_words()}")
            time.sleep(0.05)
        return self

    def cpu_s(self) -> float:
        """Processor seconds since its start."""
        return cpu_seconds(self.pid)

    def status(self, path: str) -> int:
        """The status of a GET; 0 where nobody answers."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.ask("GET", path)[0]
        return 0

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """One request on a connection of its own; the answer is read as JSON where it is JSON."""
        sent = None if body is None else json.dumps(body).encode()
        with contextlib.closing(UnixConnection(self.socket, 60.0)) as connection:
            connection.request(method, path, sent, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            said = answer.read()
        with contextlib.suppress(ValueError):
            return answer.status, json.loads(said)
        return answer.status, said

    def adapter(self) -> str | None:
        """The adapter that answers traffic."""
        said: str | None = self.ask("GET", "/v1/serving")[1]["adapter"]
        return said

    def _last_words(self) -> str:
        path = self._folder / "server.err"
        return path.read_text(encoding="utf-8", errors="replace")[-3000:]


def cpu_seconds(pid: int) -> float:
    """User and system seconds of a process, its ended children counted in."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


def dealt(data: Path, seed: int, *, quick: bool) -> Partition:
    """All intents of a set, few rows of each: what is measured is answers, not learning."""
    quota = Quota(seeds=5 if quick else 10, dev=4, golden=2, labels=0, teacher=0, traffic=20)
    rows = [read(data, split) for split in ("train", "val", "test")]
    return deal(rows[0], [], rows[2], seed=seed, quota=quota)


def daemon_of(
    folder: Path, intents: Sequence[str], *, threads: int = 1, parity_texts: int = 200
) -> RunningDaemon:
    """A daemon that serves by `flywheel serve`."""
    config = CONFIG.format(threads=threads, recipe="quick", parity_texts=parity_texts)
    return RunningDaemon(folder, config, intents)


def first_champion(daemon: RunningDaemon, rows: Partition) -> str:
    """Import the set and run the first turn; its adapter answers once the server has proved it."""
    for split, part in (("seed", rows.seeds), ("dev", rows.dev), ("golden", rows.golden)):
        daemon.post_lines("samples", samples(part, split))
    daemon.wait_for(daemon.start_turn())
    return champion_after(daemon, None)


def second_adapter(daemon: RunningDaemon, recipe: str = "balanced") -> str:
    """Train another one by another recipe and have it approved, whatever the gates say."""
    path = daemon.folder / "config.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('recipe = "quick"', f'recipe = "{recipe}"'), encoding="utf-8")
    daemon.post("reload")
    before = daemon.get("status")["champion"]
    view = daemon.wait_for(daemon.start_turn())
    gates = [
        gate["gate"]
        for gate in daemon.get("decisions", view["decision"])["gates"]
        if gate["verdict"] != "PASS"
    ]
    because = "another adapter is needed for a measurement"
    daemon.post("decisions", view["decision"], "approve", because=because, override=gates)
    return champion_after(daemon, before)


def roll_back(daemon: RunningDaemon, adapter: str) -> str:
    """Ask for another champion, which the server has to prove; returns the decision's id."""
    return str(daemon.post("rollback", because="a measurement", to=adapter)["id"])


def champion_after(daemon: RunningDaemon, before: str | None) -> str:
    """Wait until the champion is another one.

    Raises:
        RuntimeError: it stays the same; the daemon's problems are in it.
    """
    until = time.monotonic() + _SWITCH_S
    while True:
        status = daemon.get("status")
        if status["champion"] and status["champion"] != before:
            return str(status["champion"])
        if time.monotonic() > until:
            raise RuntimeError(f"no other champion: {status['problems']}")
        time.sleep(0.05)


def samples(rows: Sequence[Row], split: str) -> Iterator[dict[str, str]]:
    """Rows as the daemon takes them."""
    for row in rows:
        yield {"text": row.text, "intent": row.intent, "split": split}


def say(line: str) -> None:
    """One line of progress."""
    print(f"[{time.strftime('%H:%M:%S')}] {line}", flush=True)
