"""No room on the disk: a clear line, nothing half-written, and on it goes once there is room."""

import contextlib
import errno
import os
import shutil
import subprocess
import sys

import pytest
from full_disk import fill, make_room, small_disk
from runtimes import Parrot, produce_failures, runtime_in, seed_runtime

from flywheel.daemon.turn_thread import TurnThread
from flywheel.store import DiskFull, open_store, turns
from flywheel.turn import advance, request, run_until_idle, table
from tests.waiting import CEILING_S, until

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mount") is None, reason="mounting a small disk needs root"
)


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", 16) as place:
        yield place


@needs_root
def test_a_commit_without_room_is_undone_and_the_next_one_works(disk):
    with contextlib.closing(open_store(disk / "x.duckdb")) as store:
        with store.write() as con:
            con.execute("CREATE TABLE said (text VARCHAR)")
        fill(disk)
        with pytest.raises(DiskFull, match="nothing was written") as refused, store.write() as con:
            con.execute("INSERT INTO said SELECT repeat('x', 1000) FROM range(2000)")
        assert "make room" in refused.value.hint
        make_room(disk)
        with store.write() as con:
            con.execute("INSERT INTO said VALUES ('here')")
    with contextlib.closing(open_store(disk / "x.duckdb")) as store, store.read() as con:
        assert con.execute("SELECT text FROM said").fetchall() == [("here",)]


@needs_root
def test_a_turn_waits_for_room_and_ends_as_if_there_had_always_been(disk, tmp_path):
    (tmp_path / "calm").mkdir()
    ends = []
    for folder, full in ((tmp_path / "calm", False), (disk, True)):
        runtime = runtime_in(folder, teacher=Parrot())
        with contextlib.closing(runtime.store):
            seed_runtime(runtime)
            produce_failures(runtime)
            request(runtime, "manual")
            if full:
                fill(disk)
                with pytest.raises(DiskFull):
                    for _ in table.STEPS:
                        advance(runtime, "t-1")
                make_room(disk)
            run_until_idle(runtime)
            with runtime.store.read() as con:
                steps = [(one.name, one.state, one.detail) for one in turns.steps(con, "t-1")]
                ends.append((turns.get(con, "t-1").state, steps))
    assert ends[0] == ends[1]
    assert ends[0][0] == "done"


def test_the_thread_of_turns_waits_and_says_so(tmp_path, monkeypatch):
    runtime = runtime_in(tmp_path)

    def no_room(runtime, turn):
        raise OSError(errno.ENOSPC, "No space left on device", "datasets/x.parquet")

    monkeypatch.setitem(table.STEPS, "diagnose", no_room)
    monkeypatch.setattr("flywheel.daemon.turn_thread._NO_ROOM_S", 0.05)
    with contextlib.closing(runtime.store):
        seed_runtime(runtime)
        request(runtime, "manual")
        thread = TurnThread(runtime)
        thread.start()
        until(thread.problems)
        (problem,) = thread.problems()
        assert problem.startswith("no room for step diagnose of t-1")
        assert thread.failure is None
        monkeypatch.undo()
        with runtime.store.read() as con:
            assert turns.get(con, "t-1").state == "diagnose"
        until(lambda: turn_state(runtime) in turns.ENDED)
        assert thread.stop(CEILING_S)
        assert not thread._no_room


def turn_state(runtime):
    with runtime.store.read() as con:
        return turns.get(con, "t-1").state


@needs_root
def test_a_read_only_state_folder_is_one_clear_line_and_nothing_written(disk):
    configure(disk)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    done = run_daemon(disk)
    assert done.returncode == 1
    assert f"cannot write {disk / 'var'}: Read-only file system" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in disk.iterdir()) == ["config.toml", "intents.toml"]


@needs_root
def test_a_daemon_that_cannot_start_for_want_of_room_says_so_and_starts_later(disk):
    configure(disk)
    fill(disk)
    done = run_daemon(disk)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: no room to write {disk}/var/flywheel.duckdb")
    assert "Traceback" not in done.stderr
    make_room(disk)
    with contextlib.closing(open_store(disk / "var" / "flywheel.duckdb")) as store:
        store.probe()


def configure(folder):
    (folder / "config.toml").write_text('[flywheel]\nlog_dir = ""\n', encoding="utf-8")
    (folder / "intents.toml").write_text('[[intent]]\nname = "stop"\n', encoding="utf-8")


def run_daemon(folder):
    command = [sys.executable, "-m", "flywheel", "run", "--config", str(folder / "config.toml")]
    return subprocess.run(command, capture_output=True, text=True, timeout=CEILING_S, check=False)
