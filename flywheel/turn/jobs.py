"""Jobs to their results, wherever they run: the one loop that submits, waits, adopts and ends.

A job is its folder: `job.json` and its inputs, `worker.json` (who has taken it), `worker.log`,
`progress.jsonl`, and at last `result.json`. The folder is the truth and the executor's state a
hint: a result counts whatever the state is, and a bad state counts only when the folder has no
result after the executor's grace period.

A job outlives the daemon. `worker.json` is written with an empty handle before the job is
submitted and with its handle afterwards, so whoever runs the job again polls the handle, or has
the executor look the job up by its name, or finds the result. A job that something outside ended
is submitted once more, and goes on from its checkpoint.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from flywheel import files
from flywheel.errors import JobFailed
from flywheel.protocols import Executor, Handle, JobPhase, JobState, Progress
from flywheel.records import Job, JobResult

log = logging.getLogger(__name__)

_LINGER_S = 10.0  # a worker that has its result and does not end by itself is ended after this
_TAIL_BYTES = 2000
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Submission:
    """`worker.json`: who has taken the job, and when.

    `submitted` and `running_since` are seconds since the epoch, for people. How long it runs is
    told by `running_at`, seconds of the machine's clock that nobody sets and that other daemons of
    this boot share; after another boot the count begins anew.
    """

    executor: str  # its kind
    handle: Handle  # "": submitting it was cut off, it may be there under its name
    submitted: float
    running_since: float | None = None  # None while it is queued
    running_at: float | None = None
    boot: str = ""


class _Lost(JobFailed):
    """The job did not end by itself: the machine ran out of memory, or somebody ended it."""


class Jobs:
    """The jobs in the folders of `jobs_dir`. Any thread may call; one at a time runs a job."""

    def __init__(
        self,
        executor: Executor,
        jobs_dir: Path,
        cancelled: dict[str, threading.Event] | None = None,
    ) -> None:
        """Share `cancelled`, by job id, with everything that runs or cancels jobs of the folder."""
        self._executor = executor
        self._folder = jobs_dir
        self._cancelled = {} if cancelled is None else cancelled

    def run(self, job: Job) -> JobResult:
        """Block until the job has a result.

        Raises:
            JobFailed: the job was lost twice, hung past `job.timeout_s` (not counting how long it
                was queued), was cancelled, or said why it could not be done.
        """
        folder = self._folder / job.id
        folder.mkdir(parents=True, exist_ok=True)
        cancelled = self._cancelled.setdefault(job.id, threading.Event())
        try:
            result = _read_result(folder) or self._work(job, folder, cancelled)
        finally:
            self._cancelled.pop(job.id, None)
        if not result.ok:
            raise JobFailed(f"{job.kind} job {job.id} failed: {result.error}", hint=_tail(folder))
        return result

    def cancel(self, job_id: str) -> None:
        """End the job, of this daemon or one before; one that is run later does not start."""
        self._cancelled.setdefault(job_id, threading.Event()).set()
        taken = _read_submission(self._folder / job_id)
        if taken is None or taken.executor != self._executor.kind:
            return
        handle = taken.handle or self._executor.find(job_id)
        if handle:
            self._executor.cancel(handle)

    def progress(self, job_id: str) -> Progress | None:
        """The last thing the worker said; None before it said anything."""
        try:
            lines = (self._folder / job_id / "progress.jsonl").read_bytes().splitlines()
        except OSError:
            return None
        for line in reversed(lines):
            with contextlib.suppress(ValueError):
                return _progress(json.loads(line))
        return None

    def _work(self, job: Job, folder: Path, cancelled: threading.Event) -> JobResult:
        """A job that something outside ended is submitted once more, from its checkpoint."""
        taken = self._adopt(job, folder) or self._submit(job, folder, cancelled)
        try:
            return self._wait(job, folder, taken, cancelled)
        except _Lost as lost:
            log.warning("%s; it is started once more", lost.message, extra={"job": job.id})
            return self._wait(job, folder, self._submit(job, folder, cancelled), cancelled)

    def _adopt(self, job: Job, folder: Path) -> _Submission | None:
        """The submission of a daemon before; None where the job is to be submitted."""
        taken = _read_submission(folder)
        if taken is None or not taken.handle:
            return None
        if taken.executor != self._executor.kind:
            log.warning(
                "%s was begun by the executor %s, it is begun anew", job.id, taken.executor,
                extra={"job": job.id},
            )  # fmt: skip
            return None
        if self._executor.grace_s or self._executor.poll(taken.handle).alive:
            if taken.boot != _boot():
                taken = replace(taken, running_since=None, running_at=None)
            return taken
        return None  # died while nobody looked: that does not count as lost

    def _submit(self, job: Job, folder: Path, cancelled: threading.Event) -> _Submission:
        if cancelled.is_set():
            raise _was_cancelled(job)
        if not (folder / "job.json").exists():
            written = {"id": job.id, "kind": job.kind, "spec": dict(job.spec)}
            files.write_json(folder / "job.json", written)
        taken = _Submission(executor=self._executor.kind, handle="", submitted=time.time())
        _write_submission(folder, taken)
        handle = self._executor.submit(job, folder)
        try:
            return self._note(folder, replace(taken, handle=handle), self._executor.poll(handle))
        except OSError:  # nobody would find it again
            self._executor.cancel(handle)
            raise

    def _note(self, folder: Path, taken: _Submission, state: JobState) -> _Submission:
        """Write down who has the job, and since when it runs: no longer queued is running."""
        if state.phase is not JobPhase.QUEUED:
            at, boot = time.monotonic(), _boot()
            taken = replace(taken, running_since=time.time(), running_at=at, boot=boot)
        _write_submission(folder, taken)
        return taken

    def _wait(
        self, job: Job, folder: Path, taken: _Submission, cancelled: threading.Event
    ) -> JobResult:
        try:
            return self._watch(job, folder, taken, cancelled)
        finally:
            self._executor.cancel(taken.handle)  # whatever it left behind

    def _watch(
        self, job: Job, folder: Path, taken: _Submission, cancelled: threading.Event
    ) -> JobResult:
        ended: float | None = None  # when the state was first bad
        while True:
            # In this order: what has ended by the first line has written all it ever will.
            stopped = cancelled.is_set()
            if stopped:
                self._executor.cancel(taken.handle)
            state = self._executor.poll(taken.handle)
            self._executor.fetch(taken.handle, folder)
            result = _read_result(folder)
            if result is not None:
                self._let_end(taken.handle, cancelled)
                return result
            if stopped:
                raise _was_cancelled(job)
            if state.alive:
                ended = None
                if state.phase is JobPhase.RUNNING and taken.running_at is None:
                    taken = self._note(folder, taken, state)
                _refuse_hung(job, folder, taken)
            else:
                ended = time.monotonic() if ended is None else ended
                if time.monotonic() - ended >= self._executor.grace_s:
                    raise _ended_badly(job, folder, state)
            cancelled.wait(self._executor.pause_s)

    def _let_end(self, handle: Handle, cancelled: threading.Event) -> None:
        """Wait for the end of a worker that has its result, and gives back memory and cores."""
        until = time.monotonic() + _LINGER_S
        while self._executor.poll(handle).phase is JobPhase.RUNNING:
            if time.monotonic() > until or cancelled.wait(self._executor.pause_s):
                return


def _refuse_hung(job: Job, folder: Path, taken: _Submission) -> None:
    if taken.running_at is None or time.monotonic() - taken.running_at <= job.timeout_s:
        return
    raise JobFailed(
        f"{job.kind} job {job.id} was still running after {job.timeout_s:.0f} s",
        hint="raise [training] timeout_minutes, or train on less; " + _tail(folder),
    )


def _boot() -> str:
    """What tells this boot of the machine from every other; "" where the kernel does not say."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _ended_badly(job: Job, folder: Path, state: JobState) -> JobFailed:
    why = f" ({state.why})" if state.why else ""
    error = _Lost if state.phase is JobPhase.GONE else JobFailed
    return error(f"{job.kind} job {job.id} ended without a result{why}", hint=_tail(folder))


def _was_cancelled(job: Job) -> JobFailed:
    return JobFailed(f"{job.kind} job {job.id} was cancelled")


def _read_result(folder: Path) -> JobResult | None:
    try:
        return JobResult(**json.loads((folder / "result.json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def _write_submission(folder: Path, taken: _Submission) -> None:
    files.write_json(folder / "worker.json", asdict(taken))


def _read_submission(folder: Path) -> _Submission | None:
    try:
        written = json.loads((folder / "worker.json").read_text(encoding="utf-8"))
        if "pid" in written:  # before there were handles, a local worker was noted like this
            handle, at = f"{written['pid']}:{written['started']}", float(written["at"])
            return _Submission(executor="local", handle=handle, submitted=at, running_since=at)
        return _Submission(**written)
    except (OSError, ValueError, TypeError, KeyError):
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
