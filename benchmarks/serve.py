"""What does `flywheel serve` add to the bare model, and is what it answers what was judged?

    python benchmarks/serve.py [--quick] [--seeds N] [--data DIR] [--threads N]

A real daemon trains two LoRA adapters on every intent of a set in two real turns; `flywheel
serve` answers with the champion, and delivers its answers to the daemon meanwhile. In interleaved
rounds of one run:

- p50_vs_bare: one client, one request open, against the library's Router in a loop of a process
  of its own;
- throughput_vs_bare: texts a processor second of the server under 64 clients, against bare
  batches of 32;
- throughput_vs_fastapi: the same against FastAPI and a transformers pipeline of the same weights;
- p99_vs_bare: requests at half of the saturated rate, against the median of the bare loop.

Then the champion is changed again and again through the daemon, with every must-pass and 200 dev
texts asked, then with ten, under load: swaps, failed requests, mixed (an answer that is not the
named adapter's), and swap_ms, from the commit after parity passed to the new adapter's first
answer, the slowest. Last, seven faults are put into server or files (parity_caught), and false
alarms are counted (parity_false). The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import serving_world as world
from serving_processes import Bare, Peer, finished, load, started
from serving_swaps import caught, swapped
from serving_world import RunningServer, say

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "clinc150"
CLIENTS = 64
FULL, TEN = 200, 1000  # swaps with 200 dev texts, and with ten


def main() -> int:
    """Run the benchmark; 0 when it ran, whatever the figures are."""
    asked = _arguments()
    os.environ["OMP_NUM_THREADS"] = str(asked.threads)
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    runs: list[dict[str, float | None]] = []
    began = time.monotonic()
    for seed in range(asked.seeds):
        with tempfile.TemporaryDirectory(prefix="serve-") as place:
            runs.append(one_run(Path(place), seed, asked))
    found = {name: _together(name, [run[name] for run in runs]) for name in runs[0]}
    found["minutes"] = round((time.monotonic() - began) / 60, 1)
    print(json.dumps({"benchmark": "serve", "quick": asked.quick, **found}))
    return 0


def one_run(place: Path, seed: int, asked: argparse.Namespace) -> dict[str, float | None]:
    """One daemon and one server, from two turns to the last fault."""
    rows = world.dealt(asked.data, seed, quick=asked.quick)
    texts = [row.text for row in rows.test]
    say(f"seed {seed}: {len(rows.intents)} intents, {len(rows.seeds)} seeds, {len(texts)} texts")
    with world.daemon_of(place, rows.intents, threads=asked.threads) as daemon:
        with RunningServer(place) as server:
            first = world.first_champion(daemon, rows)
            say(f"  {first} was trained and proved")
            second = world.second_adapter(daemon)
            say(f"  {second} was trained and proved, and answers")
            adapters = daemon.state_dir / "adapters"
            found = speed(place, server, adapters / second, texts, asked)
            counts = (3, 10) if asked.quick else (FULL, TEN)
            swaps = swapped(daemon, server, (first, second), texts, counts)
            found |= {
                "swaps": swaps.done,
                "failed": swaps.failed,
                "mixed": swaps.mixed,
                "swap_ms": swaps.slowest_ms,
                "answers_meanwhile": swaps.answers,
            }
        found |= {"parity_caught": caught(daemon, first, second), "parity_false": swaps.refused}
    return found


def speed(
    place: Path,
    server: RunningServer,
    adapter: Path,
    texts: Sequence[str],
    asked: argparse.Namespace,
) -> dict[str, float | None]:
    """The four ratios, each the median over rounds of what was measured one after the other."""
    rounds, seconds, count = (3, 3.0, 96) if asked.quick else (8, 8.0, 384)
    address = {"unix": str(server.socket)}
    found: dict[str, list[float]] = {}
    bare = Bare(adapter, "auto")
    peer = Peer(adapter, place)
    say(f"  bare: {bare.engine}; peer: {'FastAPI' if peer.port else peer.missing}")
    try:
        for number in range(rounds):
            some = [texts[(number * count + n) % len(texts)] for n in range(count)]
            loop = bare.do("single", some)
            one = finished(load(address, some, seconds, connections=1, seed=number))
            batches = bare.do("batch", some * 2)
            served, rate = _saturated(address, server.pid, some, seconds, number)
            half = finished(load(address, some, seconds, rate=rate / 2, seed=number))
            row = {
                "p50_vs_bare": median(one["ms"]) / median(loop["ms"]),
                "throughput_vs_bare": served / (batches["texts"] / batches["cpu_s"]),
                "p99_vs_bare": _percentile(half["ms"], 0.99) / median(loop["ms"]),
                "bare_p50_ms": median(loop["ms"]),
                "served_p50_ms": median(one["ms"]),
                "texts_a_cpu_s": served,
            }
            if peer.port:
                other, _ = _saturated({"port": peer.port}, peer.pid, some, seconds, number)
                row["throughput_vs_fastapi"] = served / other
            for name, value in row.items():
                found.setdefault(name, []).append(value)
            say("  " + ", ".join(f"{name} {value:.2f}" for name, value in row.items()))
            if one["failed"] or half["failed"]:
                say(f"  failed: {one['statuses']} {half['statuses']}")
    finally:
        bare.close()
        peer.close()
    figures: dict[str, float | None] = {name: round(median(v), 3) for name, v in found.items()}
    figures.setdefault("throughput_vs_fastapi", None)
    return figures


def _saturated(
    address: Mapping[str, Any], pid: int, texts: Sequence[str], seconds: float, seed: int
) -> tuple[float, float]:
    """Texts a processor second of a server, and a second, while 64 clients ask it."""
    running = started(load(address, texts, seconds, connections=CLIENTS, seed=seed))
    before, began = world.cpu_seconds(pid), time.monotonic()
    told = finished(running)
    taken, wall = world.cpu_seconds(pid) - before, time.monotonic() - began
    return told["done"] / taken, told["done"] / min(wall, seconds)


def _percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def _together(name: str, values: Sequence[float | None]) -> float | None:
    """Counts are summed, the slowest swap is the slowest of all, ratios are medians."""
    present = [value for value in values if value is not None]
    if not present:
        return None
    if name in ("swaps", "failed", "mixed", "parity_false", "answers_meanwhile"):
        return sum(present)
    if name == "swap_ms":
        return max(present)
    return min(present) if name == "parity_caught" else round(median(present), 3)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds and swaps")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="of training; answers take one")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of train.jsonl, test.jsonl")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
