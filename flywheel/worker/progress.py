"""Progress of a job, as lines of a file that whoever waits for the job can follow."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any


class ProgressLog:
    """Appends lines to progress.jsonl: fraction done, what is being done, seconds left."""

    def __init__(self, path: Path, every_s: float = 0.5) -> None:
        self._path = path
        self._every = every_s
        self._began = time.monotonic()
        self._last = float("-inf")

    def part(self, low: float, high: float, detail: str) -> Part:
        """A share of the job, itself reported from 0 to 1."""
        return Part(self, low, high, detail)

    def report(self, done: float, detail: str, **values: Any) -> None:
        """Append a line; one that comes too soon after the last needs `values` to be written."""
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

    def __init__(self, progress: ProgressLog, low: float, high: float, detail: str) -> None:
        self._progress, self._low, self._high, self._detail = progress, low, high, detail

    def part(self, low: float, high: float, detail: str) -> Part:
        """A share of this share."""
        width = self._high - self._low
        return Part(self._progress, self._low + low * width, self._low + high * width, detail)

    def __call__(self, done: float, detail: str = "", **values: Any) -> None:
        """Report; see `ProgressLog.report`."""
        at = self._low + done * (self._high - self._low)
        self._progress.report(at, " ".join(t for t in (self._detail, detail) if t), **values)
