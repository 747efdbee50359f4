"""How long a person waits for `flywheel --help` and for `flywheel status` of a running daemon.

The last line is JSON: the fastest, the median and the slowest of each in milliseconds, what of
it the processor worked, and whether the medians are within the limits. On a busy machine the
first three tell of the machine and the fourth of the program.

    python benchmarks/cli_start.py [--quick]
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from daemon_harness import RunningDaemon

LIMITS_MS = {"--help": 300.0, "status": 500.0}
CONFIG = '[intents]\nfile = "intents.json"\n[schedule]\ncron = ""\n'


def timed(arguments: Sequence[str], runs: int) -> tuple[list[float], float]:
    """Milliseconds of each run of the command as a process of its own; and of processor time."""
    found = []
    before = processor_ms()
    for _ in range(runs):
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "flywheel", *arguments], check=True, stdout=subprocess.DEVNULL
        )
        found.append(1000 * (time.perf_counter() - began))
    return found, (processor_ms() - before) / runs


def processor_ms() -> float:
    """Milliseconds that ended child processes have worked so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (used.ru_utime + used.ru_stime)


def main(arguments: Sequence[str]) -> int:
    """Time both commands, and say whether they are within their limits."""
    runs = 5 if "--quick" in arguments else 25
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "router"
        with RunningDaemon(folder, CONFIG, ["set_alarm", "play_music"]):
            config = ["--config", os.fspath(folder / "config.toml")]
            times = {
                "--help": timed(["--help"], runs),
                "status": timed([*config, "status"], runs),
            }
    summary = {}
    for name, (found, worked) in times.items():
        figures = (min(found), statistics.median(found), max(found), worked)
        names = ("min", "median", "max", "processor")
        summary[name] = dict(zip(names, map(round, figures), strict=True))
        shown = " ".join(f"{each:6.0f}" for each in figures)
        print(f"flywheel {name:<7} {shown} ms (min, median, max; processor)")
    within = all(summary[name]["median"] <= limit for name, limit in LIMITS_MS.items())
    print(json.dumps({"runs": runs, "ms": summary, "limits_ms": LIMITS_MS, "within": within}))
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
