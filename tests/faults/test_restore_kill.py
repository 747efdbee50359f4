"""`kill -9` before each file operation of a restore: one database or the other, whole."""

import contextlib
import itertools
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flywheel.cli.command import Place
from flywheel.cli.database import _alone
from flywheel.config import load
from flywheel.daemon.wiring import built
from flywheel.errors import DatabaseHeld
from flywheel.loader import Loader
from flywheel.records import Prediction
from flywheel.spool import Spool
from flywheel.store import events, open_store, retention
from tests.waiting import CEILING_S

NOW = datetime(2026, 11, 22, tzinfo=UTC)
FORK = multiprocessing.get_context("fork")
SEEN = ("open", "os.remove", "os.rename", "os.mkdir")  # what Python tells before it does it


def prediction(name):
    return Prediction(id=name, ts=NOW, text="wake me", intent="set_alarm")


def in_a_child(act, *arguments):
    """Run in a process of its own; returns its exit status, -9 where it was killed."""
    child = FORK.Process(target=act, args=arguments)
    child.start()
    child.join()
    return child.exitcode


def write_and_die(path, name):
    """Leave the event in DuckDB's log, which nobody has put into the file."""
    store = open_store(path)
    with store.write() as con:
        events.add_predictions(con, [prediction(name)])
    os.kill(os.getpid(), signal.SIGKILL)


def ids(path):
    store = open_store(path)
    with contextlib.closing(store), store.read() as con:
        return {key for (key,) in con.execute("SELECT id FROM predictions").fetchall()}


@pytest.fixture
def template(tmp_path):
    """A killed daemon's folder: events in the file, in its log and in the spool; and a backup."""
    place = tmp_path / "template"
    state = place / "var"
    (state / "spool").mkdir(parents=True)
    database = state / "flywheel.duckdb"
    store = open_store(database)
    with store.write() as con:
        events.add_predictions(con, [prediction("in the file")])
    store.close()
    assert in_a_child(write_and_die, database, "in the log") == -9
    assert (state / "flywheel.duckdb.wal").stat().st_size
    line = {"kind": "predictions", "id": "in the spool", "ts": NOW.isoformat(), "text": "wake me"}
    line = json.dumps({**line, "intent": "set_alarm"}) + "\n"
    (state / "spool" / "000000000001.ndjson").write_text(line)
    (state / "jobs" / "t-1-train").mkdir(parents=True)
    (state / "jobs" / "t-1-train" / "result.json").write_text("{}")
    store = open_store(place / "backup")
    with store.write() as con:
        events.add_predictions(con, [prediction("in the backup")])
    store.close()
    (place / "config.toml").write_text("", encoding="utf-8")
    (place / "intents.toml").write_text('[[intent]]\nname = "set_alarm"\n')
    return place


def restore(folder, deadly):
    """Restore without a daemon; the process dies before the file operation of that number."""
    seen = 0

    def count(event, arguments):
        nonlocal seen
        if event in SEEN and str(folder) in str(arguments[0]):
            seen += 1
            if seen == deadly:
                os.kill(os.getpid(), signal.SIGKILL)

    state = folder / "var"
    sys.addaudithook(count)
    _alone(Place(config=folder / "config.toml", state_dir=state, log_dir=None), folder / "backup")


def start_and_end(folder):
    """What the daemon does at its start, before it answers, and at its end."""
    config = load(folder / "config.toml")
    with built(config) as runtime:
        Loader(runtime.store, Spool(config.state_dir / "spool", 1 << 20)).stop()


OLD = {"in the file", "in the log", "in the spool"}


@pytest.mark.parametrize("every", [17, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_before_any_of_its_steps_a_restore_ends_in_one_database_or_the_other(
    template, tmp_path, every
):
    outcomes = []
    for deadly in itertools.count(1, every):
        folder = tmp_path / f"killed-{deadly}"
        shutil.copytree(template, folder)
        exit_code = in_a_child(restore, folder, deadly)
        start_and_end(folder)
        state = folder / "var"
        there = ids(state / "flywheel.duckdb")
        kept = sorted(state.glob("flywheel.duckdb.before-*"))
        jobs = [path for path in state.glob("jobs*") if any(path.iterdir())]
        if there == OLD:
            assert (kept, [path.name for path in jobs]) == ([], ["jobs"]), deadly
        else:
            assert there == {"in the backup"}, deadly
            assert [ids(path) for path in kept] == [OLD], deadly
            assert [path.name for path in jobs] == [kept[0].name.replace("flywheel.duckdb", "jobs")]
        names = {path.name for path in state.iterdir()}
        assert not {name for name in names if "arriving" in name or "restoring" in name}, deadly
        assert not list((state / "spool").iterdir()), deadly
        outcomes.append(there == OLD)
        if exit_code != -signal.SIGKILL:
            assert exit_code == 0
            break
        shutil.rmtree(folder)
    assert outcomes == sorted(outcomes, reverse=True)  # old up to a moment, new from then on
    assert (outcomes[0], outcomes[-1]) == (True, False)
    assert len(outcomes) > 20 / every


def test_a_database_that_cannot_be_opened_is_kept_and_the_spool_goes_to_the_backup(template):
    database = template / "var" / "flywheel.duckdb"
    database.write_bytes(b"no database" * 1000)
    in_a_child(restore, template, 0)
    start_and_end(template)
    assert ids(database) == {"in the backup", "in the spool"}
    (kept,) = (template / "var").glob("flywheel.duckdb.before-*[0-9]")
    assert kept.read_bytes() == b"no database" * 1000
    assert kept.with_name(f"{kept.name}.wal").stat().st_size


def test_a_backup_whose_own_log_is_beside_it_is_restored_with_both(template):
    (template / "backup").unlink()
    shutil.copy(template / "var" / "flywheel.duckdb", template / "backup")
    shutil.copy(template / "var" / "flywheel.duckdb.wal", template / "backup.wal")
    assert in_a_child(restore, template, 0) == 0
    assert ids(template / "var" / "flywheel.duckdb") == {"in the file", "in the log"}


def test_a_database_that_a_daemon_has_is_not_touched(template):
    database = template / "var" / "flywheel.duckdb"
    store = open_store(database)
    with pytest.raises(DatabaseHeld):
        place = Place(config=template / "config.toml", state_dir=database.parent, log_dir=None)
        _alone(place, template / "backup")
    store.close()
    assert ids(database) == {"in the file", "in the log"}
    assert not list(database.parent.glob("*-20*"))


def test_the_archive_that_the_old_database_began_stays_its_own(template):
    database = template / "var" / "flywheel.duckdb"
    store = open_store(database)
    retention.archive_before(store, NOW + timedelta(days=1), NOW)
    store.close()
    (named,) = (template / "var" / "archive").iterdir()
    named.rename(named.with_name(f"{named.name}.arriving"))  # killed before it had its name
    assert in_a_child(restore, template, 0) == 0
    start_and_end(template)
    store = open_store(database)
    retention.archive_before(store, NOW - timedelta(days=1), NOW)  # removes what nobody names
    store.close()
    assert named.is_file()


def test_a_worker_of_the_old_turns_ends_and_its_result_is_not_taken_for_the_new_turns(template):
    state = template / "var"
    waits = [sys.executable, "-c", "import signal; signal.pause()"]
    worker = subprocess.Popen(waits, start_new_session=True)
    started = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()[19]
    told = {"pid": worker.pid, "started": started, "at": NOW.timestamp()}
    (state / "jobs" / "t-1-train" / "worker.json").write_text(json.dumps(told))
    assert in_a_child(restore, template, 0) == 0
    assert worker.wait(CEILING_S) == -signal.SIGKILL
    assert not list(state.glob("jobs/*"))
    assert list(state.glob("jobs.before-*/t-1-train/result.json"))
