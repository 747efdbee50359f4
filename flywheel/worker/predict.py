"""Answers of adapters on rows: the same rows, the same float32 arithmetic, for each of them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flywheel import files
from flywheel.worker import models
from flywheel.worker.models.protocol import Calls, TrainedModel, bases_dir, cache_dir
from flywheel.worker.progress import ProgressLog

_WARM_UP = 3  # answers of each adapter whose time is not counted


def run(folder: Path, spec: Mapping[str, Any], progress: ProgressLog) -> dict[str, Any]:
    """Read rows.parquet (id, text), write predictions.parquet.

    Its columns: id, adapter, intent, arguments (a JSON object), confidence, margin (null where no
    threshold is applied); the rows of one adapter after those of the other.

    Returns:
        values: hashes (content id by adapter, computed from the files read), rows, and
        latency_ms (by adapter, one answer at a time) where spec asks for `timed` rows.
    """
    rows = pq.read_table(folder / "rows.parquet", columns=["id", "text"]).to_pydict()
    places = {name: Path(place) for name, place in spec["adapters"].items()}
    device = str(spec.get("device", "auto"))
    adapters = models.load(
        places, device=device, cache_dir=cache_dir(spec), bases_dir=bases_dir(spec)
    )
    hashes, tables = {}, []
    for number, (name, adapter) in enumerate(adapters.items()):
        hashes[name] = adapter.content_id
        share = (number / len(adapters), (number + 1) / len(adapters))
        calls = adapter.answer(rows["text"], progress.part(*share, name))
        tables.append(table(rows["id"], name, calls))
    write(folder / "predictions.parquet", tables)
    values: dict[str, Any] = {"hashes": hashes, "rows": len(rows["id"])}
    if spec.get("timed"):
        values["latency_ms"] = latencies(adapters, rows["text"][: int(spec["timed"])])
    return values


def latencies(adapters: Mapping[str, TrainedModel], texts: Sequence[str]) -> dict[str, list[float]]:
    """Milliseconds of each answer by adapter, but for the first few.

    One text at a time, nothing from a cache: each text is asked of every adapter before the next
    one, so that a busy machine slows all of them alike.
    """
    answerers = {name: adapter.answerer() for name, adapter in adapters.items()}
    taken: dict[str, list[float]] = {name: [] for name in adapters}
    for number, text in enumerate(texts):
        for name, answer in answerers.items():
            start = time.perf_counter()
            answer([text])
            if number >= _WARM_UP:
                taken[name].append(round(1000 * (time.perf_counter() - start), 3))
    return taken


def write(path: Path, tables: Sequence[pa.Table]) -> None:
    """Write the tables to one Parquet file atomically; it is on disk when this returns."""
    with files.replacing(path) as staged:
        pq.write_table(pa.concat_tables(tables), staged)


def table(ids: Sequence[str], name: str, calls: Calls) -> pa.Table:
    """The answers of one adapter, as `run` writes them."""
    return pa.table(
        {
            "id": pa.array(ids, pa.string()),
            "adapter": pa.array([name] * len(ids), pa.string()),
            "intent": pa.array(calls.intents, pa.string()),
            "arguments": pa.array(
                [json.dumps(a, ensure_ascii=False) for a in calls.arguments], pa.string()
            ),
            "confidence": pa.array(calls.confidence.double().numpy(), pa.float64()),
            "margin": pa.array(_margins(ids, calls), pa.float64()),
        }
    )


def _margins(ids: Sequence[str], calls: Calls) -> Sequence[float | None]:
    return [None] * len(ids) if calls.margin is None else calls.margin.double().tolist()
