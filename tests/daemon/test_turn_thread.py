import asyncio
import sys
import threading
from dataclasses import replace

import pytest

from flywheel import turn
from flywheel.daemon import process, turn_thread
from flywheel.daemon.process import Daemon
from flywheel.daemon.turn_thread import TurnThread
from flywheel.executors.local import LocalExecutor
from flywheel.records import Job
from flywheel.store import turns
from flywheel.turn import table
from flywheel.turn.runtime import StepResult
from flywheel.web.sockets import listening
from tests.waiting import CEILING_S, until

SLEEPER = (sys.executable, "-c", "import signal; signal.pause()")
DONE = (
    sys.executable,
    "-c",
    "import sys; open(sys.argv[1] + '/result.json', 'w')"
    """.write('{"id": "t-1-train", "ok": true}')""",
)


def one_job(runtime, one):
    runtime.jobs.run(Job(id=f"{one.id}-train", kind="train", spec={}, timeout_s=900))
    return StepResult(next_state="done", detail="ran")


@pytest.fixture
def threads():
    started = []

    def start(runtime):
        thread = TurnThread(runtime)
        thread.start()
        started.append((thread, runtime))
        return thread

    yield start
    for thread, _ in started:
        thread.stop(CEILING_S)


def with_worker(runtime, command):
    return replace(
        runtime,
        executor=LocalExecutor(runtime.config.state_dir / "jobs", command),
        wake=threading.Event(),
        stopping=threading.Event(),
    )


def state(runtime, turn_id="t-1"):
    with runtime.store.read() as con:
        return turns.get(con, turn_id).state


def test_a_turn_that_is_asked_for_runs_to_its_end(make_runtime, threads, monkeypatch):
    monkeypatch.setitem(table.STEPS, "diagnose", one_job)
    runtime = with_worker(make_runtime(), DONE)
    thread = threads(runtime)
    turn.request(runtime, "asked by ana")
    until(lambda: state(runtime) == "done")
    assert thread.alive()
    assert thread.problems() == ()


def test_stopping_kills_the_worker_fails_nothing_and_the_next_start_goes_on(
    make_runtime, threads, monkeypatch
):
    monkeypatch.setitem(table.STEPS, "diagnose", one_job)
    runtime = with_worker(make_runtime(), SLEEPER)
    thread = threads(runtime)
    turn.request(runtime, "asked by ana")
    worker = runtime.job_dir("t-1-train") / "worker.json"
    until(worker.exists)
    assert thread.stop(CEILING_S)  # the worker ends by a kill alone
    assert state(runtime) == "diagnose"
    with runtime.store.read() as con:
        assert [step.state for step in turns.steps(con, "t-1")] == ["running"]
    again = with_worker(runtime, DONE)
    threads(again)
    until(lambda: state(again) == "done")


def test_a_lost_database_ends_the_thread_and_says_so(make_runtime, threads, caplog):
    runtime = make_runtime()
    thread = threads(runtime)
    runtime.store.close()
    runtime.wake.set()
    until(lambda: thread.failure is not None)
    until(lambda: not thread.alive())
    assert thread.problems()


def test_a_defect_outside_every_step_is_told_and_tried_again(make_runtime, threads, monkeypatch):
    monkeypatch.setattr(turn_thread, "_BACKOFF_S", (0.2,))
    calls = []

    def broken(runtime):
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("我要听音乐")

    monkeypatch.setattr(turn, "run_until_idle", broken)
    thread = threads(make_runtime())
    until(lambda: thread.problems() != ())
    assert thread.alive()
    until(lambda: thread.problems() == ())
    assert len(calls) == 2


def test_a_held_decision_expires_while_nothing_else_happens(make_runtime, threads, monkeypatch):
    monkeypatch.setattr(turn_thread, "IDLE_S", 0.05)
    monkeypatch.setattr(turn_thread, "_EXPIRE_S", 0.1)
    calls = []
    monkeypatch.setattr(turn, "expire", lambda runtime: calls.append(1))
    threads(make_runtime())
    until(lambda: len(calls) >= 3)


def test_the_process_ends_with_1_when_its_database_is_lost(make_runtime, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(process, "PULSE_S", 0.1)
    runtime = make_runtime()

    async def live():
        daemon = Daemon(runtime)
        living = asyncio.create_task(daemon.live(sockets, once=False))
        while "ready" not in caplog.messages:
            await asyncio.sleep(0.02)
        runtime.store.close()
        return await asyncio.wait_for(living, CEILING_S)

    with listening(runtime.config.socket_path, "") as sockets:
        assert asyncio.run(live()) == 1
