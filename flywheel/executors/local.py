"""Jobs as child processes on this machine.

A worker lives in a session of its own, so it survives the daemon. Its handle is `PID:STARTED`: a
pid is used again by the kernel, a pid with the moment it started is not.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flywheel.programs import inherited
from flywheel.protocols import Handle, JobPhase, JobState
from flywheel.records import Job

_PROC = Path("/proc")
_PAUSE_S = 0.02
_DYING_S = 5.0  # what was killed is waited for; the kernel may hold it longer, for a slow disk


class LocalExecutor:
    """Runs jobs in folders of `jobs_dir`, each named by its job. Any thread may call."""

    kind = "local"
    pause_s = _PAUSE_S
    grace_s = 0.0  # the folder is shared, and a process that has ended has written all it will

    def __init__(self, jobs_dir: Path, command: Sequence[str] = ()) -> None:
        """Run `command FOLDER` for a job; by default this Python's `-m flywheel.worker`."""
        self._jobs = jobs_dir
        self._command = tuple(command) or (sys.executable, "-m", "flywheel.worker")
        self._lock = threading.Lock()
        self._children: dict[Handle, subprocess.Popen[bytes]] = {}

    def find(self, job_id: str) -> Handle:
        """The worker of this job, whoever started it; "" for none."""
        return self._find(self._jobs / job_id)

    def submit(self, job: Job, folder: Path) -> Handle:
        """Start a worker, unless one is at work in the folder."""
        return self._find(folder) or self._start(job, folder)

    def poll(self, handle: Handle) -> JobState:
        """Whether the worker is there, and how it ended where it was this process's child."""
        with self._lock:
            child = self._children.get(handle)
        if child is None:
            phase = JobPhase.RUNNING if _alive(handle) else JobPhase.GONE
            return JobState(phase=phase)
        code = child.poll()
        if code is None:
            return JobState(phase=JobPhase.RUNNING)
        by_itself = JobPhase.FAILED if code else JobPhase.DONE
        return JobState(phase=JobPhase.GONE if code < 0 else by_itself, why=f"exit {code}")

    def cancel(self, handle: Handle) -> None:
        """Kill the worker's whole process group, also when the worker itself is gone."""
        _kill(handle)
        with self._lock:
            child = self._children.pop(handle, None)
        if child is not None:
            child.wait()
            return
        until = time.monotonic() + _DYING_S
        while _alive(handle) and time.monotonic() < until:
            time.sleep(_PAUSE_S)

    def fetch(self, handle: Handle, folder: Path) -> None:
        """Nothing to do: the worker writes to the folder itself."""

    def _find(self, folder: Path) -> Handle:
        command = [os.fsencode(part) for part in (*self._command, str(folder))]
        for path in _PROC.glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):  # of another user, or gone meanwhile
                if path.read_bytes().split(b"\0")[:-1] != command:
                    continue
                pid = int(path.parent.name)
                if os.getsid(pid) == pid and (started := _started(pid)) is not None:
                    return _handle(pid, started)
        return ""

    def _start(self, job: Job, folder: Path) -> Handle:
        with (folder / "worker.log").open("ab") as log:
            child = subprocess.Popen(
                [*self._command, str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=_environment(job.spec),
            )
        handle = _handle(child.pid, _started(child.pid) or "")
        with self._lock:
            self._children[handle] = child
        return handle


def _handle(pid: int, started: str) -> Handle:
    return f"{pid}:{started}"


def _parts(handle: Handle) -> tuple[int, str]:
    """Pid, and when it started, in clock ticks since boot as the kernel writes them."""
    pid, _, started = handle.partition(":")
    return int(pid) if pid.isdecimal() else 0, started  # no process has the pid 0


def _kill(handle: Handle) -> None:
    # The group of a dead leader keeps its number while a member lives, and a new process cannot
    # take it; but a pid that now belongs to another process must not be touched.
    pid, started = _parts(handle)
    if not pid or _started(pid) not in (None, started):
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _alive(handle: Handle) -> bool:
    pid, started = _parts(handle)
    return bool(started) and _started(pid) == started


def _started(pid: int) -> str | None:
    """When a process started; None when there is none, or only its remains (a zombie)."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _environment(spec: Mapping[str, Any]) -> dict[str, str]:
    """What a worker may know; keys and tokens of the daemon stay behind."""
    return inherited(os.environ) | {
        "OMP_NUM_THREADS": str(spec.get("threads", 1)),
        "OMP_WAIT_POLICY": "PASSIVE",  # idle threads must not keep other processes from a core
        "TOKENIZERS_PARALLELISM": "false",
    }
