"""Which engine answers fastest on this machine: measured once, and noted.

Every engine gives the evaluated answers or is not used, so the choice may hang on a clock: it
changes how long an answer takes and not which one it is.

Source: docs/adr/0084-engines.md
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from flywheel import files
from flywheel.worker.models.protocol import Answerer, TrainedModel

_WARM_UP = 3  # answers of each engine whose time is not counted
_ROUNDS = 12  # answers of each engine that are
_CPUINFO = Path("/proc/cpuinfo")


def fastest(model: TrainedModel, folder: Path, threads: int) -> Answerer:
    """The engine with the lowest median time an answer; by the note where there is one.

    Args:
        folder: of the adapter; the note stands in the cache of its state folder, or of the user.
    """
    if len(model.engines) == 1:
        return model.answerer(model.engines[0], threads)
    note, key = _note(folder), _key(model, threads)
    noted = _read(note).get(key, "")
    if noted in model.engines:
        return model.answerer(noted, threads)
    answerers = {engine: model.answerer(engine, threads) for engine in model.engines}
    taken = measured(answerers)
    best = min(taken, key=lambda engine: taken[engine])
    with contextlib.suppress(OSError):  # measured again next time
        note.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(note, durable=False) as staged:
            staged.write_text(json.dumps({**_read(note), key: best}, indent=2), encoding="utf-8")
    return answerers[best]


def measured(answerers: Mapping[str, Answerer]) -> dict[str, float]:
    """Median milliseconds an answer by engine, each text asked of all before the next one."""
    taken: dict[str, list[float]] = {engine: [] for engine in answerers}
    for number in range(_WARM_UP + _ROUNDS):
        text = " ".join(["wake me at seven tomorrow morning"] * (1 + number % 3))
        for engine, answer in answerers.items():
            start = time.perf_counter()
            answer([text])
            if number >= _WARM_UP:
                taken[engine].append(1000 * (time.perf_counter() - start))
    return {engine: round(statistics.median(times), 3) for engine, times in taken.items()}


def _key(model: TrainedModel, threads: int) -> str:
    """A hash of what a measurement depends on: processor, libraries, threads, size of the base."""
    with contextlib.suppress(OSError):
        lines = _CPUINFO.read_text(encoding="ascii", errors="replace").splitlines()
        processor = [line for line in lines if line.startswith(("model name", "flags", "Features"))]
        return _hashed([sorted(set(processor)), os.cpu_count()], model, threads)
    return _hashed([platform.processor()], model, threads)


def _hashed(processor: Sequence[object], model: TrainedModel, threads: int) -> str:
    versions = [importlib.metadata.version(name) for name in ("torch", "onnxruntime")]
    facts = [*processor, versions, threads, model.size]
    return hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()[:16]


def _note(folder: Path) -> Path:
    """The cache of the state folder that the adapter is in, else that of the user."""
    state = folder.resolve().parent.parent
    if folder.resolve().parent.name == "adapters" and os.access(state, os.W_OK):
        return state / "cache" / "engines.json"
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    return Path(home) / "flywheel" / "engines.json"


def _read(note: Path) -> dict[str, str]:
    with contextlib.suppress(OSError, ValueError):
        noted = json.loads(note.read_text(encoding="utf-8"))
        if isinstance(noted, dict):
            return {key: value for key, value in noted.items() if isinstance(value, str)}
    return {}
