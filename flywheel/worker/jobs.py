"""One job, from `job.json` to `result.json`.

The result is written last and atomically, after everything that it names is on disk, so a job
without one has not finished. A lock on the folder keeps two workers from doing the same job;
whoever comes second finds the result.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flywheel import files
from flywheel.errors import FlywheelError
from flywheel.worker.progress import ProgressLog


def main(arguments: Sequence[str]) -> int:
    """Do the job in the folder named by the one argument; 0 when it has a result."""
    if len(arguments) != 1 or not Path(arguments[0], "job.json").is_file():
        print("usage: python -m flywheel.worker JOB_DIR", file=sys.stderr)  # noqa: T201
        return 2
    folder = Path(arguments[0]).resolve()
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "result.json").is_file():
            _do(folder)
    return 0


def _do(folder: Path) -> None:
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    began = time.monotonic()
    result: dict[str, Any] = {"id": job["id"], "ok": True, "values": {}, "error": ""}
    try:
        result["values"] = _run(job["kind"], folder, job["spec"])
    except FlywheelError as error:
        result |= {"ok": False, "error": f"{error.message}; {error.hint}".removesuffix("; ")}
    result["seconds"] = round(time.monotonic() - began, 3)
    files.write_json(folder / "result.json", result)


def _run(kind: str, folder: Path, spec: Mapping[str, Any]) -> Mapping[str, Any]:
    threads = int(spec["threads"])
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # transformers imports both for parts that no kind of model uses: 0.6 of the 6.5 processor
    # seconds that a job takes to start, and 35 MB. None makes a module impossible to import.
    for unused in ("sklearn", "scipy"):
        sys.modules.setdefault(unused, None)  # type: ignore[arg-type]
    import torch

    from flywheel.worker import crossfit, predict, train

    torch.set_num_threads(threads)
    jobs = {"train": train.run, "predict": predict.run, "crossfit": crossfit.run}
    jobs["noise_check"] = crossfit.check
    if kind not in jobs:
        raise FlywheelError(f"there is no job kind {kind!r}")
    return jobs[kind](folder, spec, ProgressLog(folder / "progress.jsonl"))
