"""Durable ingest: how fast are events acknowledged and loaded, and is any lost under `kill -9`?

Everything is measured in one run on one machine, and told as ratios: to this disk's own
`fdatasync`, to the same daemon committing to DuckDB before it answers (requests that wait share a
commit there too), and to DuckDB's own bulk `read_json` of the same lines. Each pair is measured
in turn, several times over; the ratio is the median of the rounds.

    python benchmarks/ingest.py [--quick] [--kills N]

The last line is JSON: single_vs_commit, batch_vs_bulk, load_rows_per_s, p99_fsyncs, kills, lost,
duplicates, and the figures they come from. `p99_fsyncs` is the 99th percentile of an
acknowledgement in medians of `fdatasync`, `p99_in_p99_fsyncs` in its own 99th percentiles.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from flywheel.unix_socket import UnixConnection

sys.path.insert(0, str(Path(__file__).parents[1]))

import duckdb

from benchmarks import killing
from benchmarks.wire_load import Timed, post

CONNECTIONS = 64
LINES = 500
_COLUMNS = (
    "{id: 'VARCHAR', ts: 'TIMESTAMP', text: 'VARCHAR', intent: 'VARCHAR', arguments: 'VARCHAR', "
    "confidence: 'DOUBLE', adapter: 'VARCHAR', latency_ms: 'DOUBLE', slices: 'VARCHAR'}"
)
_BULK = f"INSERT INTO predictions BY NAME SELECT * FROM read_json(?, columns={_COLUMNS})"
_TABLE = Path(__file__).parents[1] / "flywheel/store/migrations/0001_events.sql"


def main() -> None:
    """Measure, print a table, and end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute instead of several")
    parser.add_argument("--kills", type=int, help="default 200, quick 10")
    parser.add_argument("--folder", type=Path, help="on the disk to measure")
    given = parser.parse_args()
    rounds, singles, batches = (2, 4_000, 100) if given.quick else (5, 15_000, 400)
    kills = given.kills if given.kills is not None else 10 if given.quick else 200
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        print(json.dumps(measured(Path(folder), rounds, singles, batches, kills)))


def measured(folder: Path, rounds: int, singles: int, batches: int, kills: int) -> dict[str, Any]:
    """Every figure, as the JSON has it."""
    floor = fdatasync_floor(folder / "floor")
    say(f"fdatasync: p50 {floor[0] * 1e3:.2f} ms, p99 {floor[1] * 1e3:.2f} ms")
    spooled, committed = [], []
    for number in range(rounds):
        bodies = [line(f"{number}-s", i) for i in range(singles)]
        spooled.append(single(folder / f"spool-{number}", bodies, spooling))
        committed.append(single(folder / f"commit-{number}", bodies, committing))
        tell_single(spooled[-1], committed[-1])
    loads, acks, bulks = [], [], []
    for number in range(rounds):
        rows = [line(f"{number}-b", i) for i in range(batches * LINES)]
        load, ack = batched(folder / f"batch-{number}", rows)
        bulk = bulk_rows_per_s(folder / f"bulk-{number}", rows)
        say(f"batches ×{LINES}: {ack:,.0f} acked/s, {load:,.0f} loaded/s; read_json {bulk:,.0f}/s")
        loads, acks, bulks = [*loads, load], [*acks, ack], [*bulks, bulk]
    (folder / "killed").mkdir()
    survived = killing.survive(folder / "killed", kills, load_s=0.3, mixed=True)
    say(f"{kills} kills, {survived.acknowledged:,} acknowledged: {survived.lost} lost")
    p99 = statistics.median(each.quantile(0.99) for each in spooled)
    return {
        "single_vs_commit": ratio([rate(each) for each in spooled], [rate(e) for e in committed]),
        "batch_vs_bulk": ratio(acks, bulks),
        "load_rows_per_s": round(statistics.median(loads)),
        "p99_fsyncs": round(p99 / floor[0], 1),
        "p99_in_p99_fsyncs": round(p99 / floor[1], 1),
        "kills": survived.kills,
        "lost": survived.lost,
        "duplicates": survived.duplicates,
        "acknowledged": survived.acknowledged,
        "fdatasync_p50_ms": round(floor[0] * 1e3, 2),
        "fdatasync_p99_ms": round(floor[1] * 1e3, 2),
        "single_per_s": round(statistics.median(rate(each) for each in spooled)),
        "single_p50_ms": round(statistics.median(e.quantile(0.5) for e in spooled) * 1e3, 1),
        "single_p99_ms": round(p99 * 1e3, 1),
        "commit_per_s": round(statistics.median(rate(each) for each in committed)),
        "batch_rows_per_s": round(statistics.median(acks)),
        "bulk_rows_per_s": round(statistics.median(bulks)),
    }


def line(prefix: str, number: int) -> bytes:
    """One prediction as a caller writes it; every other one has arguments."""
    arguments = b'{"time":"%d:%02d"}' % (number % 24, number % 60) if number % 2 else b"{}"
    return (
        b'{"id":"%b-%d","ts":"2026-11-%02dT%02d:17:%02dZ","text":"wake me at %d please",'
        b'"intent":"intent_%d","arguments":%b,"confidence":0.%02d,"adapter":"a-3f2c",'
        b'"latency_ms":6.1,"slices":{"channel":"voice","locale":"en-US"}}'
    ) % (
        prefix.encode(), number, 1 + number % 20, number % 24, number % 60, number,
        number % 150, arguments, number % 100,
    )  # fmt: skip


def single(folder: Path, bodies: Sequence[bytes], how: Callable[..., None]) -> Timed:
    """Single events over many connections, after a few to warm up."""
    with serving(folder, how) as path:
        post(path, [line("warm", i) for i in range(500)], CONNECTIONS)
        return post(path, bodies, CONNECTIONS)


def batched(folder: Path, rows: Sequence[bytes]) -> tuple[float, float]:
    """Rows a second until all were loaded, and until all were acknowledged."""
    bodies = [b"\n".join(rows[i : i + LINES]) for i in range(0, len(rows), LINES)]
    with serving(folder, spooling) as path:
        post(path, [line("warm", i) for i in range(500)], CONNECTIONS)
        began = time.perf_counter()
        timed = post(path, bodies, 8)
        with contextlib.closing(UnixConnection(path, 300.0)) as connection:
            connection.request("GET", "/v1/status")
            stored = json.loads(connection.getresponse().read())["backlog"]["predictions"]
        seconds = time.perf_counter() - began
    if stored != len(rows) + 500:
        raise RuntimeError(f"{stored} rows are stored, not {len(rows) + 500}")
    return len(rows) / seconds, len(rows) / timed.seconds


def bulk_rows_per_s(folder: Path, rows: Sequence[bytes]) -> float:
    """DuckDB's own way with the same lines: one INSERT from `read_json`, committed."""
    folder.mkdir()
    (folder / "rows.ndjson").write_bytes(b"\n".join(rows))
    with duckdb.connect(str(folder / "bulk.duckdb")) as con:
        con.execute(_TABLE.read_text(encoding="utf-8"))
        began = time.perf_counter()
        con.execute(_BULK, [str(folder / "rows.ndjson")])
        return len(rows) / (time.perf_counter() - began)


def fdatasync_floor(path: Path) -> tuple[float, float]:
    """Median and 99th percentile, in seconds, of appending 200 bytes and fdatasync."""
    took = []
    with path.open("ab", buffering=0) as file:
        for _ in range(400):
            began = time.perf_counter()
            file.write(b"x" * 200)
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - began)
    took.sort()
    return took[len(took) // 2], took[int(len(took) * 0.99)]


@contextlib.contextmanager
def serving(folder: Path, how: Callable[..., None]) -> Iterator[Path]:
    """A server over a fresh folder; gives its socket."""
    folder.mkdir()
    (folder / "config.toml").write_text(killing.CONFIG, encoding="utf-8")
    (folder / "intents.toml").write_text(killing.INTENTS, encoding="utf-8")
    process = multiprocessing.get_context("spawn").Process(target=how, args=(folder,))
    process.start()
    path = folder / "var" / "flywheel.sock"
    try:
        killing.wait_for(path, process)
        yield path
    finally:
        process.terminate()
        process.join(60)


def spooling(folder: Path) -> None:
    """The daemon as it is."""
    killing.run_daemon(folder)


def committing(folder: Path) -> None:
    """The same interface, committing each group of requests to DuckDB before it answers."""
    from benchmarks.commit_first import serve

    serve(folder)


def rate(timed: Timed) -> float:
    """Requests a second."""
    return timed.requests / timed.seconds


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median over the rounds of ours to theirs."""
    return round(statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), 2)


def tell_single(spooled: Timed, committed: Timed) -> None:
    """One line of the table."""
    words = [
        f"{name} {rate(each):,.0f}/s p50 {each.quantile(0.5) * 1e3:.1f} "
        f"p99 {each.quantile(0.99) * 1e3:.1f} ms"
        for name, each in (("spool", spooled), ("commit first", committed))
    ]
    say(f"{CONNECTIONS} connections: {'; '.join(words)}")


def say(text: str) -> None:
    """Print a line now."""
    print(text, flush=True)


if __name__ == "__main__":
    main()
