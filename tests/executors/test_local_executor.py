"""Jobs as child processes: adopted, ended, and answered for."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flywheel import files
from flywheel.errors import JobFailed
from flywheel.executors import LocalExecutor, local
from flywheel.protocols import Progress
from flywheel.records import Job
from tests.waiting import CEILING_S, until

WRITE = """
def finish(ok=True, error=""):
    told = {"id": "j-1", "ok": ok, "values": {"pid": os.getpid()}, "error": error, "seconds": 0.0}
    (folder / "tmp").write_text(json.dumps(told))
    (folder / "tmp").rename(folder / "result.json")
"""
HEAD = (
    "import json, os, pathlib, signal, subprocess, sys, time\n"
    "folder = pathlib.Path(sys.argv[1])\n" + WRITE
)


def test_a_job_has_a_result(tmp_path):
    result = executor(tmp_path, "finish()").run(job())
    assert (result.id, result.ok) == ("j-1", True)
    assert json.loads((tmp_path / "j-1" / "job.json").read_text()) == {
        "id": "j-1", "kind": "train", "spec": {"threads": 1, "text": "我要听音乐"},
    }  # fmt: skip


def test_a_job_with_a_result_is_not_run_again(tmp_path):
    first = executor(tmp_path, "finish()").run(job())
    assert executor(tmp_path, "sys.exit(1)").run(job()) == first


def test_a_failed_result_fails_with_its_reason(tmp_path):
    with pytest.raises(JobFailed, match="train job j-1 failed: no seeds"):
        executor(tmp_path, "finish(False, 'no seeds')").run(job())


def test_a_death_fails_with_the_last_words(tmp_path):
    with pytest.raises(JobFailed, match=r"ended without a result \(exit 3\)") as caught:
        executor(tmp_path, "print('内存不足', file=sys.stderr); sys.exit(3)").run(job())
    assert caught.value.hint == "内存不足"


def test_a_job_that_died_is_started_again(tmp_path):
    with pytest.raises(JobFailed):
        executor(tmp_path, "sys.exit(3)").run(job())
    assert executor(tmp_path, "finish()").run(job()).ok


CHILDREN = """
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
(folder / "pids").write_text(f"{os.getpid()} {child.pid}")
(folder / "pids").rename(folder / "ready")
signal.pause()
"""


def test_a_timeout_ends_the_worker_and_its_children(tmp_path, monkeypatch):
    ready = tmp_path / "j-1" / "ready"
    monkeypatch.setattr(local.time, "time", lambda: 1e9 * ready.exists())
    with pytest.raises(JobFailed, match="was still running after 1 s"):
        executor(tmp_path, CHILDREN).run(job(timeout_s=1.0))
    until(lambda: not any(running(pid) for pid in pids(tmp_path)))


def test_cancelling_ends_the_worker_and_its_children(tmp_path):
    local = executor(tmp_path, CHILDREN)
    failed = in_background(local, job())
    until((tmp_path / "j-1" / "ready").exists)
    local.cancel("j-1")
    failed.join(CEILING_S)
    assert failed.message == "train job j-1 was cancelled"
    until(lambda: not any(running(pid) for pid in pids(tmp_path)))


def test_cancelling_a_worker_that_has_a_result_and_lingers_leaves_no_process(tmp_path):
    local = executor(tmp_path, "finish()\n" + CHILDREN)
    failed = in_background(local, job())
    until((tmp_path / "j-1" / "ready").exists)
    local.cancel("j-1")
    failed.join(CEILING_S)
    assert failed.message == ""
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids(tmp_path)[:1])  # nor its remains


def test_a_worker_that_cannot_be_noted_down_is_ended(tmp_path, monkeypatch):
    started = []
    write = files.write_json

    def no_room(path, value):
        if path.name == "worker.json":
            started.append(value["pid"])
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, value)

    monkeypatch.setattr(files, "write_json", no_room)
    with pytest.raises(OSError, match="No space"):
        executor(tmp_path, CHILDREN).run(job())
    (pid,) = started
    assert not Path(f"/proc/{pid}").exists()


def test_cancelling_what_has_ended_is_harmless(tmp_path):
    local = executor(tmp_path, "finish()")
    assert local.run(job()).ok
    local.cancel("j-1")
    assert local.run(job()).ok


def test_a_job_that_was_cancelled_before_it_was_submitted_does_not_start(tmp_path):
    local = executor(tmp_path, "finish()")
    local.cancel("j-1")
    with pytest.raises(JobFailed, match="j-1 was cancelled"):
        local.run(job())
    assert not (tmp_path / "j-1" / "worker.json").exists()


DAEMON = """
import pathlib, sys
from flywheel.executors import LocalExecutor
from flywheel.records import Job
jobs, command = pathlib.Path(sys.argv[1]), sys.argv[2:]
LocalExecutor(jobs, command).run(Job(id="j-1", kind="train", spec={"threads": 1}, timeout_s=900))
"""
WAITING = """
(folder / "ready").touch()
while not (folder / "go").exists():
    time.sleep(0.01)
finish()
"""


def test_a_worker_outlives_its_daemon_and_is_adopted(tmp_path, monkeypatch):
    command = [sys.executable, "-c", HEAD + WAITING]
    daemon = subprocess.Popen([sys.executable, "-c", DAEMON, str(tmp_path), *command])
    until((tmp_path / "j-1" / "worker.json").exists)
    until((tmp_path / "j-1" / "ready").exists)
    pid = json.loads((tmp_path / "j-1" / "worker.json").read_text())["pid"]
    os.kill(daemon.pid, signal.SIGKILL)
    daemon.wait()
    assert running(pid)
    second = executor(tmp_path, "sys.exit(1)")
    adopt = second._adopt

    def let_go(folder):
        worker = adopt(folder)
        (folder / "go").touch()
        return worker

    monkeypatch.setattr(second, "_adopt", let_go)
    assert second.run(job()).values == {"pid": pid}


def test_a_process_that_only_has_the_pid_is_neither_adopted_nor_killed(tmp_path):
    (tmp_path / "j-1").mkdir()
    told = {"pid": os.getpid(), "started": "1", "at": 0.0}
    (tmp_path / "j-1" / "worker.json").write_text(json.dumps(told))
    executor(tmp_path, "finish()").cancel("j-1")
    assert executor(tmp_path, "finish()").run(job()).values["pid"] != os.getpid()


def test_a_worker_does_not_learn_the_daemons_keys(tmp_path, monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", "hidden")
    code = "(folder / 'env').write_text(json.dumps(dict(os.environ))); finish()"
    executor(tmp_path, code).run(job())
    seen = json.loads((tmp_path / "j-1" / "env").read_text())
    assert "TEACHER_KEY" not in seen
    assert seen["OMP_NUM_THREADS"] == "1"


def test_progress_is_the_last_whole_line(tmp_path):
    local = executor(tmp_path, "")
    assert local.progress("j-1") is None
    (tmp_path / "j-1").mkdir()
    lines = '{"done": 0.5, "detail": "epoch 1 of 2", "eta_s": 7.0, "loss": 0.3}\n{"done": 0.6'
    (tmp_path / "j-1" / "progress.jsonl").write_text(lines)
    assert local.progress("j-1") == Progress(
        done=0.5, detail="epoch 1 of 2", eta_s=7.0, values={"loss": 0.3}
    )


def executor(jobs, code):
    return LocalExecutor(jobs, [sys.executable, "-c", HEAD + code])


def job(timeout_s=900.0):
    return Job(
        id="j-1", kind="train", spec={"threads": 1, "text": "我要听音乐"}, timeout_s=timeout_s
    )


def in_background(local, told):
    class Failing(threading.Thread):
        message = ""

        def run(self):
            try:
                local.run(told)
            except JobFailed as error:
                self.message = error.message

    thread = Failing()
    thread.start()
    return thread


def pids(jobs):
    return [int(pid) for pid in (jobs / "j-1" / "ready").read_text().split()]


def running(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8")
        return stat.rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
