"""One job, from `job.json` to `result.json`.

The result is written last and whole, so a job without one has not finished. A lock on the
folder keeps two workers from doing the same job; whoever comes second finds the result.
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

from flywheel.errors import FlywheelError


class Progress:
    """Appends lines to progress.jsonl: fraction done, what is being done, seconds left."""

    def __init__(self, path: Path, every_s: float = 0.5) -> None:
        self._path = path
        self._every = every_s
        self._began = time.monotonic()
        self._last = float("-inf")

    def part(self, low: float, high: float, detail: str) -> Part:
        """A share of the job, itself reported from 0 to 1."""
        return Part(self, low, high, detail)

    def say(self, done: float, detail: str, **values: Any) -> None:
        """Report; lines that come too fast are left out, except those with values."""
        now = time.monotonic()
        if now - self._last < self._every and not values and done < 1:
            return
        self._last = now
        spent = now - self._began
        eta = round(spent * (1 - done) / done, 1) if done > 0 else None
        line = {"done": round(done, 4), "detail": detail, "eta_s": eta, **values}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


class Part:
    """A share of a job's progress."""

    def __init__(self, progress: Progress, low: float, high: float, detail: str) -> None:
        self._progress, self._low, self._high, self._detail = progress, low, high, detail

    def part(self, low: float, high: float, detail: str) -> Part:
        """A share of this share."""
        width = self._high - self._low
        return Part(self._progress, self._low + low * width, self._low + high * width, detail)

    def __call__(self, done: float, detail: str = "", **values: Any) -> None:
        """Report; see `Progress.say`."""
        at = self._low + done * (self._high - self._low)
        self._progress.say(at, " ".join(t for t in (self._detail, detail) if t), **values)


def main(arguments: Sequence[str]) -> int:
    """Do the job in the folder named by the one argument; 0 when it has a result."""
    if len(arguments) != 1 or not Path(arguments[0], "job.json").is_file():
        print("usage: python -m flywheel.worker JOB_DIR", file=sys.stderr)  # noqa: T201
        return 2
    folder = Path(arguments[0]).resolve()
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "result.json").is_file():
            _work(folder)
    return 0


def _work(folder: Path) -> None:
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    began = time.monotonic()
    result: dict[str, Any] = {"id": job["id"], "ok": True, "values": {}, "error": ""}
    try:
        result["values"] = _run(job["kind"], folder, job["spec"])
    except FlywheelError as error:
        result |= {"ok": False, "error": f"{error.message}; {error.hint}".removesuffix("; ")}
    result["seconds"] = round(time.monotonic() - began, 3)
    staged = folder / "result.tmp"
    with staged.open("w", encoding="utf-8") as file:
        json.dump(result, file, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    staged.replace(folder / "result.json")


def _run(kind: str, folder: Path, spec: Mapping[str, Any]) -> Mapping[str, Any]:
    # Imports are here because a check of the base needs no torch, and torch takes a second.
    if kind == "check":
        from flywheel.worker import base

        return base.check(folder, spec)
    threads = int(spec["threads"])
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for needless in ("sklearn", "scipy"):  # a quarter second, for parts of transformers not used
        sys.modules.setdefault(needless, None)  # type: ignore[arg-type]  # makes it not importable
    import torch

    torch.set_num_threads(threads)
    progress = Progress(folder / "progress.jsonl")
    if kind == "train":
        from flywheel.worker import train

        return train.run(folder, spec, progress)
    if kind == "predict":
        from flywheel.worker import predict

        return predict.run(folder, spec, progress)
    if kind == "crossfit":
        from flywheel.worker import crossfit

        return crossfit.run(folder, spec, progress)
    raise FlywheelError(f"there is no job kind {kind!r}")
