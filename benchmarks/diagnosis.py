"""Is the diagnosis right, and how long does it take at 1, 10 and 50 million predictions?

First the draws of `diagnosis_draws.py`: are failing intents found, and only they? Then how long
`flywheel intents` takes inside the daemon.

150 intents, each confused with three others, 90 days, a twentieth of the predictions judged, 12
combinations of slices; while it is asked, another thread stores events. The database is made
by DuckDB itself and migrated as any other. The time is the median of the asked times.

    python benchmarks/diagnosis.py [--quick] [--seeds 500] [--millions 1 10 50]

The last line is JSON: failing_precision, failing_recall (by lot, mixed rates), the same in each
world where they are hardest to tell, and by each stream of volunteered feedback, where
`written_recall` counts suspects too; ms_1M, ms_10M, ms_50M, and the same with one slice and one
adapter. `--millions 0`: no times.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import diagnosis_draws

from flywheel.api import views
from flywheel.config import load
from flywheel.daemon.wiring import built
from flywheel.records import Adapter, Prediction
from flywheel.store import adapters, events
from flywheel.store.health import HealthScope
from flywheel.turn import Runtime

INTENTS = 150
ASKED = 7
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
_STEP = 2_500_000  # rows written in one transaction
_PREDICTIONS = """
    INSERT INTO predictions (
        id, ts, text, intent, arguments, confidence, adapter, latency_ms, slices
    )
    SELECT 'p-' || i, TIMESTAMP '2026-11-22 12:00:00' - to_microseconds(((1 - i / $n) * 7776e9)::BIGINT),
        'text ' || (i % 1000), 'intent_' || (hash(i) % 150), '{}', 0.5, 'a-' || (i * 4 // $n), 6.1,
        '{"channel":"' || ['voice', 'chat', 'app'][1 + (hash(i, 1) % 3)::BIGINT] || '","locale":"'
            || ['de', 'en', 'fr', 'zh'][1 + (hash(i, 2) % 4)::BIGINT] || '"}'
    FROM (SELECT unnest(range($first::BIGINT, $last::BIGINT)) AS i)
"""  # noqa: E501
_FEEDBACK = """
    INSERT INTO feedback (
        id, prediction_id, ts, verdict, intent, arguments, rater, rater_kind
    )
    SELECT 'f' || id, id, ts + INTERVAL 1 HOUR,
        CASE WHEN hash(id) % 10 = 0 THEN 'corrected' ELSE 'correct' END,
        CASE WHEN hash(id) % 10 = 0 THEN 'intent_'
            || ((substr(intent, 8)::INTEGER + 1 + hash(id, 1) % 3) % 150)::INTEGER END,
        NULL, 'u', 'user'
    FROM predictions WHERE hash(id, 3) % 20 = 0
"""
_JUDGED = """
    INSERT INTO judged
    SELECT f.id, p.id, p.ts, p.text, p.intent, p.arguments, p.confidence, p.adapter, p.slices,
        f.ts, f.verdict, f.intent, f.arguments, f.rater, f.rater_kind, false, 0
    FROM feedback AS f JOIN predictions AS p ON p.id = f.prediction_id
"""
_DAILY = """
    INSERT INTO daily
    SELECT date_trunc('day', ts), intent, adapter, slices, count(*) FROM predictions GROUP BY ALL
"""
_DAILY_LABELS = """
    INSERT INTO daily_labels
    SELECT date_trunc('day', feedback_ts), predicted, truth_of(verdict, predicted, intent),
        answered_right(verdict, predicted, intent, arguments_wrong),
        adapter, slices, count(*)
    FROM judged GROUP BY ALL
"""


def main() -> None:
    """Make the databases, ask, and end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="1 million only, 100 draws")
    parser.add_argument("--seeds", type=int, default=500, help="draws of each world")
    parser.add_argument("--millions", type=int, nargs="+", default=[1, 10, 50])
    parser.add_argument("--folder", type=Path, help="with a few gigabytes to spare")
    given = parser.parse_args()
    figures = judged(100 if given.quick else given.seeds)
    for millions in [1] if given.quick else filter(None, given.millions):
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            figures |= measured(Path(folder), millions)
    print(json.dumps(figures))


def judged(seeds: int) -> dict[str, float]:
    """Precision and recall of failing intents; the figures of the mixed world have no suffix."""
    figures: dict[str, float] = {"draws": seeds}
    for world, rates in diagnosis_draws.WORLDS.items():
        found = diagnosis_draws.found(rates, seeds)
        print(f"{world}: {found}", flush=True)
        suffix = "" if world == "mixed" else f"_{world}"
        figures[f"failing_precision{suffix}"] = found.precision
        figures[f"failing_recall{suffix}"] = found.recall
    for name, stream in diagnosis_draws.STREAMS.items():
        judge = partial(diagnosis_draws.volunteered, stream)
        found = diagnosis_draws.found(diagnosis_draws.mixed, seeds, judge)
        print(f"{name}: {found}", flush=True)
        figures[f"{name}_precision"], figures[f"{name}_recall"] = found.precision, found.recall
        figures[f"{name}_written_recall"] = found.written_recall
    return figures


def measured(folder: Path, millions: int) -> dict[str, float]:
    """The times in milliseconds at this size."""
    (folder / "config.toml").write_text("", encoding="utf-8")
    names = "".join(f'[[intent]]\nname = "intent_{i}"\n' for i in range(INTENTS))
    (folder / "intents.toml").write_text(names, encoding="utf-8")
    with built(load(folder / "config.toml")) as made:
        runtime = replace(made, clock=lambda: NOW)
        began = time.perf_counter()
        fill(runtime, millions * 1_000_000)
        size = (folder / "var" / "flywheel.duckdb").stat().st_size / 1e6
        print(f"{millions} M: {size:,.0f} MB in {time.perf_counter() - began:.0f} s", flush=True)
        scopes = {
            f"ms_{millions}M": HealthScope(),
            f"slice_ms_{millions}M": HealthScope(slices={"channel": "voice"}),
            f"adapter_ms_{millions}M": HealthScope(adapter="a-3"),
        }
        found = {}
        with arriving(runtime):
            for name, scope in scopes.items():
                found[name] = median_ms(lambda scope=scope: views.intents(runtime, scope=scope))
                print(f"{name}: {found[name]}", flush=True)
    return found


def fill(runtime: Runtime, rows: int) -> None:
    """Make predictions, feedback and what hangs on them, as the loader would have."""
    for first in range(0, rows, _STEP):
        with runtime.store.write() as con:
            period = {"n": rows, "first": first, "last": min(rows, first + _STEP)}
            con.execute(_PREDICTIONS, period)
    for statement in (_FEEDBACK, _JUDGED, _DAILY, _DAILY_LABELS):
        with runtime.store.write() as con:
            con.execute(statement)
    with runtime.store.write() as con:
        for number in range(4):
            adapters.add(con, _adapter(f"a-{number}"))
        adapters.set_champion(con, "a-3", None, NOW)
    runtime.store.checkpoint()


def _adapter(name: str) -> Adapter:
    return Adapter(
        id=name,
        base="none",
        recipe="quick",
        dataset="",
        parent=None,
        created_at=NOW,
        state="retired",
    )


class arriving:  # noqa: N801  reads as a word of the `with`
    """Events are stored all the while, some hundred at a time."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        """Begin."""
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        """End."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(1.0):
            batch = [
                Prediction(
                    id=f"new-{number + i}",
                    ts=NOW - timedelta(minutes=1),
                    text="wake me",
                    intent=f"intent_{i % INTENTS}",
                )
                for i in range(500)
            ]
            number += len(batch)
            with self._runtime.store.write() as con:
                events.add_predictions(con, batch)


def median_ms(ask: Callable[[], object]) -> float:
    """Median of some askings, after one to warm up."""
    took = []
    for _ in range(ASKED + 1):
        began = time.perf_counter()
        ask()
        took.append(time.perf_counter() - began)
    return round(statistics.median(took[1:]) * 1e3, 1)


if __name__ == "__main__":
    main()
