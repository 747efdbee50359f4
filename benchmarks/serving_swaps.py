"""Champions changed under load through the daemon, and faults that parity has to find."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import serving_world as world
from daemon_harness import RunningDaemon
from faulty_serve import FAULTS
from serving_processes import Bare, ended, load, started
from serving_world import RunningServer, say

from flywheel.errors import FlywheelError

_SETTLED = ("applied", "parity_failed", "rejected", "expired")
_SETTLE_S = 300.0
_FILE_FAULTS = ("old_file", "half_written")


@dataclass(slots=True)
class Swaps:
    """What became of changes of the champion."""

    done: int = 0
    refused: int = 0  # of them by parity, which is a false alarm
    failed: int = 0  # requests
    mixed: int = 0  # answers
    answers: int = 0
    slowest_ms: float = 0.0


def swapped(
    daemon: RunningDaemon,
    server: RunningServer,
    adapters: tuple[str, str],
    texts: Sequence[str],
    counts: tuple[int, int],
) -> Swaps:
    """Change the champion to and fro under load: with all texts asked, then with ten.

    Args:
        adapters: the two; the second one answers now.
        counts: of swaps with every text, and with ten.
    """
    found = Swaps()
    some = list(texts[:200])
    expected = {name: _answers(daemon.state_dir / "adapters" / name, some) for name in adapters}
    target = 0
    for parity_texts, count in zip((200, 10), counts, strict=True):
        _ask_so_many(daemon, parity_texts)
        plan = load({"unix": str(server.socket)}, some, 7200.0, connections=2, expected=expected)
        running = started(plan)
        committed = {}
        for number in range(count):
            decision = _change(daemon, adapters[target])
            if decision["status"] == "applied":
                found.done += 1
                committed[_applied_at(decision)] = adapters[target]
            else:
                found.refused += 1
                say(f"  not applied: {decision['status']}, {decision['because']}")
            target = 1 - target
            if number % 20 == 19 or number + 1 == count:
                say(f"  {number + 1} swaps with {parity_texts} dev texts")
        time.sleep(0.5)
        told = ended(running)
        found.failed += told["failed"]
        found.mixed += told["mixed"]
        found.answers += told["done"]
        slowest = max(_late_ms(committed, told["changes"]), default=0.0)
        found.slowest_ms = round(max(found.slowest_ms, slowest), 1)
    return found


def _late_ms(committed: dict[float, str], changes: Sequence[tuple[float, str]]) -> Iterator[float]:
    """Milliseconds from each commit to the first answer of the new champion."""
    for at, adapter in committed.items():
        following = [when for when, name in changes if name == adapter and when >= at - 0.001]
        if following:
            yield 1000 * (min(following) - at)


def _change(daemon: RunningDaemon, adapter: str) -> dict[str, Any]:
    """Roll back to an adapter; returns the decision once it is settled."""
    name = world.roll_back(daemon, adapter)
    until = time.monotonic() + _SETTLE_S
    while time.monotonic() < until:
        decision: dict[str, Any] = daemon.get("decisions", name)
        if decision["status"] in _SETTLED:
            return decision
        time.sleep(0.02)
    raise RuntimeError(f"still {decision['status']}: {daemon.get('status')['problems']}")


def _applied_at(decision: dict[str, Any]) -> float:
    events = [event for event in decision["events"] if event["what"].startswith("applied")]
    return datetime.fromisoformat(events[-1]["at"]).timestamp()


def _answers(adapter: Path, texts: Sequence[str]) -> Any:
    bare = Bare(adapter, "torch")
    try:
        return bare.do("answers", texts)["answers"]
    finally:
        bare.close()


def _ask_so_many(daemon: RunningDaemon, count: int) -> None:
    path = daemon.folder / "config.toml"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines = [f"parity_texts = {count}" if "parity_texts" in line else line for line in lines]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    daemon.post("reload")


def caught(daemon: RunningDaemon, first: str, second: str) -> int:
    """How many of seven faults kept the champion from being changed.

    Args:
        daemon: its server has ended.
        first: the champion before each fault.
        second: the adapter that is loaded with a fault.
    """
    _ask_so_many(daemon, 200)
    found = 0
    with RunningServer(daemon.folder):
        if daemon.get("status")["champion"] != first:
            _change(daemon, first)
    for name in FAULTS:
        command = [sys.executable, str(Path(__file__).with_name("faulty_serve.py")), name]
        with RunningServer(daemon.folder, command) as server:
            found += _refused(daemon, server, first, second, name)
    for name in _FILE_FAULTS:
        with RunningServer(daemon.folder) as server, _file_fault(daemon, name, first, second):
            found += _refused(daemon, server, first, second, name)
    return found


def _refused(
    daemon: RunningDaemon, server: RunningServer, first: str, second: str, name: str
) -> bool:
    """Whether the change is refused, and the champion still answers."""
    _until_served(server, first)
    try:
        decision = _change(daemon, second)
    except FlywheelError as refused:
        why = refused.message
    else:
        why = (
            ""
            if decision["status"] == "applied"
            else f"{decision['status']}: {decision['because']}"
        )
    kept = daemon.get("status")["champion"] == first and server.adapter() == first
    say(f"  {name}: {'caught, ' + why if why and kept else 'NOT CAUGHT'}")
    if not kept:
        raise RuntimeError(f"{name} was not caught: the champion changed")
    return bool(why)


def _until_served(server: RunningServer, adapter: str) -> None:
    until = time.monotonic() + _SETTLE_S
    while server.adapter() != adapter:
        if time.monotonic() > until:
            raise RuntimeError(f"the server does not answer with {adapter}")
        time.sleep(0.1)


@contextmanager
def _file_fault(daemon: RunningDaemon, name: str, first: str, second: str) -> Iterator[None]:
    """A file of the second adapter is the first one's, or was written by half."""
    folder = daemon.state_dir / "adapters" / second
    kept = daemon.folder / "kept"
    shutil.copytree(folder, kept)
    weights = "adapter_model.safetensors"
    try:
        (folder / weights).chmod(0o640)
        if name == "old_file":
            shutil.copy(daemon.state_dir / "adapters" / first / weights, folder / weights)
        else:
            (folder / weights).write_bytes((kept / weights).read_bytes()[:-5000])
        yield
    finally:
        shutil.rmtree(folder)
        kept.rename(folder)
