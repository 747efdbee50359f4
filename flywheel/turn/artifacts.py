"""Files of a turn: datasets, adapters and job input, each written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flywheel import files
from flywheel.errors import JobFailed
from flywheel.records import Job, JobResult
from flywheel.store import turns
from flywheel.store.turns import Turn
from flywheel.turn.runtime import Runtime


def write_table(path: Path, table: pa.Table) -> None:
    """Write Parquet so that a crash leaves the old file or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as staged:
        pq.write_table(table, staged)


def run_job(
    runtime: Runtime,
    turn: Turn,
    part: str,
    kind: Any,
    spec: Mapping[str, Any],
    rows: pa.Table | None = None,
) -> JobResult:
    """Run a job of a turn to its result; one that a killed daemon left behind is adopted.

    Args:
        runtime: the loop.
        turn: whose job it is; the job is named `TURN-PART`.
        part: what it does in the turn, unique there.
        kind: of the worker's jobs.
        spec: what the worker has to know beside the base model.
        rows: its input table.

    Raises:
        JobFailed: the turn has ended, the job has no result, or the result is a failure.
    """
    job_id = f"{turn.id}-{part}"
    folder = runtime.job_dir(job_id)
    folder.mkdir(parents=True, exist_ok=True)
    # In this order: who ends the turn now finds the folder and cancels its job; who ended it
    # before is seen here.
    with runtime.store.read() as con:
        if turns.get(con, turn.id).state in turns.ENDED:
            raise JobFailed(f"{turn.id} has ended, {kind} job {job_id} is not started")
    if rows is not None and not (folder / "result.json").exists():
        write_table(folder / "rows.parquet", rows)
    job = Job(
        id=job_id,
        kind=kind,
        spec={**runtime.worker_spec(), **spec},
        timeout_s=runtime.job_timeout_s,
    )
    return runtime.jobs.run(job)


@contextlib.contextmanager
def run_loose_job(
    runtime: Runtime, job_id: str, kind: Any, spec: Mapping[str, Any], rows: pa.Table
) -> Iterator[JobResult]:
    """Run a job that belongs to no turn; its folder goes when the caller has read it.

    Args:
        runtime: the loop.
        job_id: made of what is asked, so that the job of a killed daemon is adopted.
        kind, spec, rows: as of `run_job`.

    Raises:
        JobFailed: the job has no result, or the result is a failure.
    """
    folder = runtime.job_dir(job_id)
    if not (folder / "result.json").exists():
        write_table(folder / "rows.parquet", rows)
    full = {**runtime.worker_spec(), **spec}
    job = Job(id=job_id, kind=kind, spec=full, timeout_s=runtime.job_timeout_s)
    try:
        yield runtime.jobs.run(job)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def cancel_jobs(runtime: Runtime, ended: Sequence[str]) -> None:
    """End the workers of turns that have ended; a step that is about to start one finds out."""
    for turn_id in ended:
        for path in runtime.job_dir("").glob(f"{turn_id}-*"):
            if path.is_dir():
                runtime.jobs.cancel(path.name)


def install_adapter(runtime: Runtime, built: Path, adapter_id: str) -> Path:
    """Move a worker's adapter folder to its place, named by its content."""
    final = runtime.adapters_dir / adapter_id
    if not final.exists():
        final.parent.mkdir(parents=True, exist_ok=True)
        files.move(built, final)
    return final


def dataset_rows(path: Path, split: str = "train") -> list[dict[str, Any]]:
    """A dataset's samples of one split, as plain dicts; empty when the file is gone."""
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return [row for row in rows if row["split"] == split]


def learned_rows(path: Path) -> list[dict[str, Any]]:
    """A dataset's rows that its adapter has learned: of training, of dev, and without a label."""
    dev = [row for row in dataset_rows(path, "dev") if row["weight"] > 0]
    return dataset_rows(path) + dev + dataset_rows(path, "unlabelled")


def arguments_of(text: str | None) -> Mapping[str, Any]:
    """Arguments as a worker wrote them."""
    return json.loads(text) if text else {}
