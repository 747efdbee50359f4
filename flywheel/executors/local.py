"""Jobs as child processes on this machine.

A job is its folder: `job.json` and its inputs, `worker.json` (who works on it), `worker.log`,
`progress.jsonl`, and at last `result.json`. A worker lives in a session of its own, so it
survives the daemon; whoever submits the job again finds the worker, or its result.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flywheel import files
from flywheel.errors import JobFailed
from flywheel.protocols import Progress
from flywheel.records import Job, JobResult

log = logging.getLogger(__name__)

_POLL_S = 0.02
_TAIL_BYTES = 2000
_KEPT_ENV = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
_KEPT_PREFIXES = ("LC_", "HF_", "PYTHON", "XDG_", "http", "HTTP", "https", "HTTPS", "no_")


@dataclass(frozen=True, slots=True)
class _Worker:
    """A process, told from a later one of the same pid by when it started."""

    pid: int
    started: str  # clock ticks since boot, as the kernel writes it
    at: float  # seconds since the epoch


class _Killed(JobFailed):
    """The worker did not end by itself: the machine ran out of memory, or somebody ended it."""


class LocalExecutor:
    """Runs jobs in folders of `jobs_dir`. Any thread may call; one at a time for one job."""

    def __init__(self, jobs_dir: Path, command: Sequence[str] = ()) -> None:
        """Run `command FOLDER` for a job; by default this Python's `-m flywheel.worker`."""
        self._jobs = jobs_dir
        self._command = tuple(command) or (sys.executable, "-m", "flywheel.worker")
        self._lock = threading.Lock()
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._cancelled: set[str] = set()

    def run(self, job: Job) -> JobResult:
        """Block until the job has a result.

        Raises:
            JobFailed: the worker died twice, hung past `job.timeout_s`, was cancelled, or said
                why it could not do the job.
        """
        folder = self._jobs / job.id
        folder.mkdir(parents=True, exist_ok=True)
        try:
            result = _result(folder)
            if result is None:
                if job.id in self._cancelled:
                    raise JobFailed(f"{job.kind} job {job.id} was cancelled")
                result = self._work(job, folder)
        finally:
            with self._lock:
                self._cancelled.discard(job.id)
                self._children.pop(job.id, None)
        if not result.ok:
            raise JobFailed(f"{job.kind} job {job.id} failed: {result.error}", hint=_tail(folder))
        return result

    def _work(self, job: Job, folder: Path) -> JobResult:
        """A worker that something outside killed is started once more, from its checkpoint."""
        try:
            return self._wait(job, folder, self._adopt(folder) or self._start(job, folder))
        except _Killed as killed:
            log.warning("%s; it is started once more", killed.message, extra={"job": job.id})
            return self._wait(job, folder, self._start(job, folder))

    def cancel(self, job_id: str) -> None:
        """End the job's process and its children; a job that is submitted later does not start."""
        with self._lock:
            self._cancelled.add(job_id)
        worker = _read_worker(self._jobs / job_id)
        if worker is not None:
            _kill(worker)

    def progress(self, job_id: str) -> Progress | None:
        """The last thing the worker said; None before it said anything."""
        try:
            lines = (self._jobs / job_id / "progress.jsonl").read_bytes().splitlines()
        except OSError:
            return None
        for line in reversed(lines):
            with contextlib.suppress(ValueError):
                return _progress(json.loads(line))
        return None

    def _adopt(self, folder: Path) -> _Worker | None:
        worker = _read_worker(folder)
        return worker if worker is not None and _alive(worker) else None

    def _start(self, job: Job, folder: Path) -> _Worker:
        if not (folder / "job.json").exists():
            told = {"id": job.id, "kind": job.kind, "spec": dict(job.spec)}
            files.write_json(folder / "job.json", told)
        with (folder / "worker.log").open("ab") as log:
            child = subprocess.Popen(
                [*self._command, str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=_environment(job.spec),
            )
        with self._lock:
            self._children[job.id] = child
        worker = _Worker(child.pid, _started(child.pid) or "", time.time())
        try:
            files.write_json(folder / "worker.json", asdict(worker))
        except OSError:  # nobody would find it again
            _end(worker, child)
            raise
        return worker

    def _wait(self, job: Job, folder: Path, worker: _Worker) -> JobResult:
        child = self._children.get(job.id)
        while child.poll() is None if child is not None else _alive(worker):
            if job.id in self._cancelled:
                break
            if time.time() - worker.at > job.timeout_s:
                _end(worker, child)
                raise JobFailed(
                    f"{job.kind} job {job.id} was still running after {job.timeout_s:.0f} s",
                    hint="raise [training] timeout_minutes, or train on less; " + _tail(folder),
                )
            time.sleep(_POLL_S)
        if job.id in self._cancelled:
            _end(worker, child)  # it may have a result and not have ended
        result = _result(folder)
        if result is not None:
            return result
        _end(worker, child)
        if job.id in self._cancelled:
            raise JobFailed(f"{job.kind} job {job.id} was cancelled")
        code = f" (exit {child.returncode})" if child is not None else ""
        kind = _Killed if child is None or child.returncode < 0 else JobFailed
        raise kind(f"{job.kind} job {job.id} ended without a result{code}", hint=_tail(folder))


def _end(worker: _Worker, child: subprocess.Popen[bytes] | None) -> None:
    """Kill the worker's whole process group, also when the worker itself is gone."""
    _kill(worker)
    if child is not None:
        child.wait()


def _kill(worker: _Worker) -> None:
    # The group of a dead leader keeps its number while a member lives, and a new process cannot
    # take it; but a pid that now belongs to another process must not be touched.
    started = _started(worker.pid)
    if started is not None and started != worker.started:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(worker.pid, signal.SIGKILL)


def _alive(worker: _Worker) -> bool:
    return bool(worker.started) and _started(worker.pid) == worker.started


def _started(pid: int) -> str | None:
    """When a process started; None when there is none, or only its remains (a zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _read_worker(folder: Path) -> _Worker | None:
    try:
        return _Worker(**json.loads((folder / "worker.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _result(folder: Path) -> JobResult | None:
    try:
        return JobResult(**json.loads((folder / "result.json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def _progress(line: Mapping[str, Any]) -> Progress:
    known = {"done", "detail", "eta_s"}
    return Progress(
        done=float(line.get("done", 0.0)),
        detail=str(line.get("detail", "")),
        eta_s=line.get("eta_s"),
        values={key: value for key, value in line.items() if key not in known},
    )


def _tail(folder: Path) -> str:
    try:
        log = (folder / "worker.log").read_bytes()[-_TAIL_BYTES:]
    except OSError:
        return ""
    return log.decode("utf-8", "replace").strip()


def _environment(spec: Mapping[str, Any]) -> dict[str, str]:
    """What a worker may know; keys and tokens of the daemon stay behind."""
    kept = {k: v for k, v in os.environ.items() if k in _KEPT_ENV or k.startswith(_KEPT_PREFIXES)}
    return kept | {
        "OMP_NUM_THREADS": str(spec.get("threads", 1)),
        "OMP_WAIT_POLICY": "PASSIVE",  # idle threads must not keep other processes from a core
        "TOKENIZERS_PARALLELISM": "false",
    }
