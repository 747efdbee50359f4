"""A worker's job, run the way the daemon runs it, and what it cost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flywheel.datasets import COLUMNS, name_row, sample_id, unlabelled_row

BASE = "bundled:all-minilm-l6-v2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A job's values and cost."""

    values: Mapping[str, Any]
    cpu_s: float
    wall_s: float
    peak_mb: float


def run(folder: Path, kind: str, spec: Mapping[str, Any], threads: int = 1) -> Done:
    """Run one job in a folder of its own.

    Raises:
        RuntimeError: the job has no result, or says why it could not be done.
    """
    folder.mkdir(parents=True, exist_ok=True)
    told = {"base": BASE, "threads": threads, "max_length": 64, "seed": 0, **spec}
    (folder / "job.json").write_text(json.dumps({"id": folder.name, "kind": kind, "spec": told}))
    env = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    began = time.monotonic()
    child = subprocess.Popen([sys.executable, "-m", "flywheel.worker", str(folder)], env=env)
    _, child.returncode, usage = os.wait4(child.pid, 0)
    result = folder / "result.json"
    said = json.loads(result.read_text("utf-8")) if result.exists() else {"error": "no result"}
    if not said.get("ok"):
        raise RuntimeError(f"{kind} job in {folder}: {said['error']}")
    return Done(
        values=said["values"],
        cpu_s=usage.ru_utime + usage.ru_stime,
        wall_s=time.monotonic() - began,
        peak_mb=usage.ru_maxrss / 1024,
    )


def dataset(
    path: Path,
    train: Sequence[tuple[str, str]],
    dev: Sequence[tuple[str, str]],
    unlabelled: Sequence[str] = (),
    names: Sequence[tuple[str, str]] = (),
    arguments: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, Any]:
    """Write a dataset of (text, intent) rows, of texts without an intent, and of what intents are
    called; returns the part of a job's spec that names it. `arguments` are those of a text."""
    said = arguments or {}
    rows: list[dict[str, Any]] = [
        {"id": sample_id(text, intent, None, "seed", split), "text": text, "intent": intent,
         "arguments": json.dumps(said[text]) if text in said else None, "origin": "seed",
         "split": split, "weight": float(split == "train"), "family": ""}
        for split, part in (("train", train), ("dev", dev))
        for text, intent in part
    ]  # fmt: skip
    rows += [name_row(*pair) for pair in names]
    rows += map(unlabelled_row, unlabelled)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=COLUMNS), path)
    schemas: dict[str, set[str]] = {intent: set() for _, intent in train}
    for text, intent in train:
        schemas[intent] |= set(said.get(text, ()))
    intents = [{"name": name, "arguments": sorted(schemas[name])} for name in sorted(schemas)]
    return {"dataset": str(path), "intents": intents}
