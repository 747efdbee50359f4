"""Does the teacher's client hold many requests: throughput, memory, and none lost?

    python benchmarks/many_requests.py [--quick] [--requests N] [--concurrency N]

The real client, its answers kept in a real database, against a stand-in in a process of its own.
Memory is this process's resident set, read after every write, the peak of each tenth of the way;
kept answers are on disk, so it should be flat but for `returned_mib`: the samples that were asked
for, weighed apart. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import pickle
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from stand_in_teacher import Faults, StandIn, serving

from flywheel.config.tables import SynthesisTable, TeacherTable
from flywheel.protocols import Answer, StoredAnswer
from flywheel.records import Brief, Intent
from flywheel.store import open_store
from flywheel.store.teacher import AnswerTable
from flywheel.teacher.openai import OpenAITeacher

POOL = {"set_alarm": ["wake me when the sun is up", "get me out of bed early", "六点叫我起床"]}
_PAGE = 4096  # bytes


def main() -> int:
    """Run the benchmark; 0 when it ran, whatever the figures are."""
    asked = _arguments()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,))
    server.start()
    url = ours.recv()
    try:
        with tempfile.TemporaryDirectory(prefix="flywheel-requests-") as name:
            found = _ask(url, Path(name), asked)
    finally:
        ours.send("end")
        server.join()
    print(json.dumps(found))
    return 0


def _serve(pipe: Connection) -> None:
    faults = Faults(storm=0.005, cut=0.002, malformed=0.01)
    with serving(StandIn(pool=POOL, faults=faults)) as url:
        pipe.send(url)
        pipe.recv()


class _Watched(AnswerTable):
    """Notes the peak of the resident set by tenths, as answers come in."""

    def __init__(self, store: object, every: int) -> None:
        super().__init__(store, "t-1")
        self.every, self.count, self.puts = every, 0, 0
        self.mib: list[float] = []

    def put(self, answers: Sequence[StoredAnswer]) -> None:
        super().put(answers)
        self.count += len(answers)
        self.puts += 1
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        tenth = min(9, (self.count - 1) // self.every)
        self.mib += [0.0] * (tenth + 1 - len(self.mib))
        self.mib[tenth] = max(self.mib[tenth], round(pages * _PAGE / 2**20, 1))


def _ask(url: str, folder: Path, asked: argparse.Namespace) -> dict[str, object]:
    table = TeacherTable(
        base_url=url, model="stand-in", max_concurrency=asked.concurrency, max_retries=8
    )
    teacher = OpenAITeacher(table, SynthesisTable(verify=False, max_usd=1e9), ())
    store = open_store(folder / "flywheel.duckdb")
    try:
        kept = _Watched(store, max(1, asked.requests // 10))
        briefs = _briefs(asked.requests)
        began, cpu = time.monotonic(), time.process_time()
        answers = teacher.write(briefs, kept)
        seconds, cpu = time.monotonic() - began, time.process_time() - cpu
        again = teacher.write(briefs, kept)
        with store.read() as con:
            stored = con.execute("SELECT count(DISTINCT key), count(*) FROM teacher_answers")
            keys, rows = stored.fetchone() or (0, 0)
    finally:
        store.close()
    bought = sum(answer.bought for given in again.values() for answer in given)
    print(f"resident MiB by tenths: {kept.mib}", flush=True)
    return {
        "requests": asked.requests,
        "concurrency": asked.concurrency,
        "answers_per_write": round(kept.count / kept.puts, 1),
        "requests_per_s": round(len(answers) / seconds, 1),
        "cpu_ms_per_request": round(1000 * cpu / asked.requests, 2),
        "lost": asked.requests - min(len(answers), keys),
        "stored_twice": rows - keys,
        "bought_again": bought,
        "memory_grown_mib": round(kept.mib[-1] - kept.mib[0], 1),
        "returned_mib": round(_weight(answers) / 2**20, 1),
    }


def _weight(answers: Mapping[str, Sequence[Answer]]) -> int:
    """Bytes that a copy of the answers takes in memory."""
    packed = pickle.dumps(dict(answers))
    tracemalloc.start()
    copied = pickle.loads(packed)
    bytes_held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del copied
    return bytes_held


def _briefs(count: int) -> Sequence[Brief]:
    intent = Intent(name="set_alarm", description="Wake the user")
    return [
        Brief(
            id=f"b-{number}",
            intent=intent,
            neighbour=None,
            failed_texts=(f"wake me number {number}",),
            examples=(),
            contrast=(),
            ask=1,
            why="",
        )
        for number in range(count)
    ]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Many requests to a teacher at once.")
    parser.add_argument("--quick", action="store_true", help="2,000 requests")
    parser.add_argument("--requests", type=int, default=10_000, help="how many (10000)")
    parser.add_argument("--concurrency", type=int, default=64, help="at once (64)")
    asked = parser.parse_args()
    if asked.quick:
        asked.requests = min(asked.requests, 2_000)
    return asked


if __name__ == "__main__":
    sys.exit(main())
