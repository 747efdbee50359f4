"""A worker that hangs ends nothing but its turn."""

import contextlib
import sys
from pathlib import Path

from runtimes import runtime_in, seed_runtime, turn_once

from flywheel.config import TrainingTable
from flywheel.executors.local import LocalExecutor
from flywheel.store import turns
from flywheel.turn import jobs as turn_jobs
from tests.waiting import until

SCRIPT = """
import pathlib, signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
pathlib.Path(sys.argv[1], "staged").write_text(str(child.pid))
pathlib.Path(sys.argv[1], "staged").rename(sys.argv[1] + "/child")
signal.pause()
"""


def test_a_hung_worker_is_ended_with_its_children_and_fails_its_turn_with_the_reason(
    tmp_path, monkeypatch
):
    jobs = tmp_path / "var" / "jobs"

    def at_work():
        return list(jobs.glob("*/child"))

    monkeypatch.setattr(turn_jobs.time, "time", lambda: 1e9 * bool(at_work()))
    runtime = runtime_in(tmp_path, training=TrainingTable(timeout_minutes=1.5 / 60))
    runtime.executor = LocalExecutor(jobs, command=(sys.executable, "-c", SCRIPT))
    with contextlib.closing(runtime.store):
        seed_runtime(runtime)
        turn_once(runtime)
        with runtime.store.read() as con:
            turn = turns.get(con, "t-1")
    assert turn.state == "failed"
    assert "was still running after 2 s → raise [training] timeout_minutes" in turn.error
    (child,) = at_work()
    until(lambda: not runs(int(child.read_text())))


def runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
