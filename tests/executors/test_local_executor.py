"""Jobs as child processes: adopted, ended, and answered for."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from flywheel import files
from flywheel.errors import JobFailed
from flywheel.executors import EXECUTORS, LocalExecutor
from flywheel.protocols import JobPhase, Progress
from flywheel.records import Job
from flywheel.turn import jobs as turn_jobs
from flywheel.turn.jobs import Jobs
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
    clock = SimpleNamespace(time=time.time, monotonic=lambda: 1e9 * ready.exists())
    monkeypatch.setattr(turn_jobs, "time", clock)
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
        if path.name == "worker.json" and value["handle"]:
            started.append(value["handle"])
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, value)

    monkeypatch.setattr(files, "write_json", no_room)
    with pytest.raises(OSError, match="No space"):
        executor(tmp_path, CHILDREN).run(job())
    (handle,) = started
    assert not Path(f"/proc/{pid_of(handle)}").exists()


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
from flywheel.turn.jobs import Jobs
folder, command = pathlib.Path(sys.argv[1]), sys.argv[2:]
job = Job(id="j-1", kind="train", spec={"threads": 1}, timeout_s=900)
Jobs(LocalExecutor(folder, command), folder).run(job)
"""
WAITING = """
(folder / "ready").touch()
while not (folder / "go").exists():
    time.sleep(0.01)
finish()
"""


@pytest.fixture
def orphan(tmp_path):
    """The pid of a worker whose daemon was killed; it ends when there is a file `go`."""
    command = [sys.executable, "-c", HEAD + WAITING]
    daemon = subprocess.Popen([sys.executable, "-c", DAEMON, str(tmp_path), *command])
    until(lambda: noted(tmp_path).get("handle"))
    until((tmp_path / "j-1" / "ready").exists)
    pid = pid_of(noted(tmp_path)["handle"])
    os.kill(daemon.pid, signal.SIGKILL)
    daemon.wait()
    assert running(pid)
    yield pid
    if running(pid):
        os.kill(pid, signal.SIGKILL)


def run_and_let_go(jobs, folder):
    """Run the job with what is there, and let the worker end only when it is being waited for."""
    waited = jobs._wait

    def let_go(*arguments):
        (folder / "go").touch()
        return waited(*arguments)

    jobs._wait = let_go
    return jobs.run(job())


def test_a_worker_outlives_its_daemon_and_is_adopted(tmp_path, orphan):
    second = executor(tmp_path, "sys.exit(1)")
    assert run_and_let_go(second, tmp_path / "j-1").values == {"pid": orphan}


def test_a_worker_that_an_earlier_version_noted_is_adopted(tmp_path, orphan):
    _, _, started = noted(tmp_path)["handle"].partition(":")
    told = {"pid": orphan, "started": started, "at": noted(tmp_path)["submitted"]}
    (tmp_path / "j-1" / "worker.json").write_text(json.dumps(told))
    second = executor(tmp_path, "sys.exit(1)")
    assert run_and_let_go(second, tmp_path / "j-1").values == {"pid": orphan}


def test_a_worker_that_was_not_noted_yet_is_found_by_its_job(tmp_path, orphan):
    submitted = {"executor": "local", "handle": "", "submitted": 0.0}
    (tmp_path / "j-1" / "worker.json").write_text(json.dumps(submitted))
    second = executor(tmp_path, WAITING)  # the same command
    assert run_and_let_go(second, tmp_path / "j-1").values == {"pid": orphan}


def test_a_worker_that_was_not_noted_yet_is_cancelled(tmp_path, orphan):
    submitted = {"executor": "local", "handle": "", "submitted": 0.0}
    (tmp_path / "j-1" / "worker.json").write_text(json.dumps(submitted))
    executor(tmp_path, WAITING).cancel("j-1")
    assert not running(orphan)


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


@pytest.mark.parametrize(
    ("code", "phase", "why"),
    [
        ("finish()", JobPhase.DONE, "exit 0"),
        ("sys.exit(3)", JobPhase.FAILED, "exit 3"),
        ("os.kill(os.getpid(), signal.SIGKILL)", JobPhase.GONE, "exit -9"),
    ],
)
def test_the_state_of_an_ended_worker_says_how_it_ended(tmp_path, code, phase, why):
    (tmp_path / "j-1").mkdir()
    local = LocalExecutor(tmp_path, [sys.executable, "-c", HEAD + code])
    handle = local.submit(job(), tmp_path / "j-1")
    until(lambda: not local.poll(handle).alive)
    assert (local.poll(handle).phase, local.poll(handle).why) == (phase, why)


def test_the_same_job_gives_the_same_handle_while_it_runs(tmp_path):
    (tmp_path / "j-1").mkdir()
    local = LocalExecutor(tmp_path, [sys.executable, "-c", HEAD + "signal.pause()"])
    handle = local.submit(job(), tmp_path / "j-1")
    until(lambda: local.find("j-1"))
    assert local.submit(job(), tmp_path / "j-1") == handle
    assert local.find("j-1") == handle
    local.cancel(handle)
    assert local.find("j-1") == ""
    assert local.poll(handle).phase is JobPhase.GONE
    local.cancel(handle)


@pytest.mark.parametrize(
    "handle",
    ["", "no handle", "0:1", "-1:1", pytest.param(f"{os.getpid()}:1", id="a later process")],
)
def test_a_handle_that_names_nothing_is_gone_and_cancelling_it_ends_nothing(tmp_path, handle):
    local = LocalExecutor(tmp_path)
    assert local.poll(handle).phase is JobPhase.GONE
    local.cancel(handle)


def test_each_kind_is_registered_by_its_own_name(tmp_path):
    assert {name: build(tmp_path).kind for name, build in EXECUTORS.items()} == {"local": "local"}


def executor(jobs, code):
    return Jobs(LocalExecutor(jobs, [sys.executable, "-c", HEAD + code]), jobs)


def noted(jobs):
    try:
        return json.loads((jobs / "j-1" / "worker.json").read_text())
    except FileNotFoundError:
        return {}


def pid_of(handle):
    return int(handle.partition(":")[0])


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
