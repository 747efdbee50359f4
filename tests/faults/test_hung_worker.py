"""A worker that hangs ends nothing but its turn."""

import contextlib
import sys
from pathlib import Path

from wheels import seed_the_wheel, turn_once, wheel_in

from flywheel.config import TrainingTable
from flywheel.executors.local import LocalExecutor
from flywheel.store import turns


def test_a_hung_worker_is_ended_with_its_children_and_fails_its_turn_with_the_reason(tmp_path):
    script = "import subprocess, time; subprocess.Popen(['sleep', '61.5']); time.sleep(60)"
    wheel = wheel_in(tmp_path, training=TrainingTable(timeout_minutes=1.5 / 60))
    wheel.executor = LocalExecutor(
        tmp_path / "var" / "jobs", command=(sys.executable, "-c", script)
    )
    with contextlib.closing(wheel.store):
        seed_the_wheel(wheel)
        turn_once(wheel)
        with wheel.store.read() as con:
            turn = turns.get(con, "t-1")
    assert turn.state == "failed"
    assert "was still running after 2 s → raise [training] timeout_minutes" in turn.error
    arguments = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")]
    assert b"sleep\x0061.5\x00" not in arguments
