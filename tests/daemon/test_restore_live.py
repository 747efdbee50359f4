"""A real daemon is given a backup while it runs."""

import contextlib
import http.client
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading

import duckdb
import pytest
from real_daemon import ask

from flywheel.store import open_store, schema
from tests.waiting import CEILING_S, until


def events(*numbers):
    return [
        {"id": f"p{i}", "ts": "2026-11-22T05:17:00Z", "text": f"wake {i}", "intent": "set_alarm"}
        for i in numbers
    ]


def send(folder, *numbers):
    for event in events(*numbers):
        status, said = ask(folder, "POST", "/v1/predictions", event)
        assert (status, said["accepted"]) == (200, 1)


def command(folder, *arguments):
    flywheel = [sys.executable, "-m", "flywheel", "--config", str(folder / "config.toml")]
    return subprocess.run([*flywheel, *map(str, arguments)], capture_output=True, text=True)


def ids(path):
    store = open_store(path)
    with contextlib.closing(store), store.read() as con:
        return {key for (key,) in con.execute("SELECT id FROM predictions").fetchall()}


def ask_or_nothing(folder):
    """Status of the daemon's answer; None while nothing listens."""
    try:
        return ask(folder, "GET", "/readyz")[0]
    except (OSError, http.client.HTTPException):
        return None


def counted(folder):
    return ask(folder, "GET", "/v1/status")[1]["backlog"]["predictions"]


def kept(folder):
    return sorted((folder / "var").glob("flywheel.duckdb.before-*"))


def test_a_running_daemon_comes_back_with_the_backup_and_goes_on(start, manager, tmp_path):
    process = start()
    send(tmp_path, 1, 2, 3)
    assert command(tmp_path, "db", "backup", tmp_path / "copy").returncode == 0
    send(tmp_path, 4, 5)
    manager.heard.clear()
    done = command(tmp_path, "db", "restore", tmp_path / "copy", "--json")
    assert done.returncode == 0, done.stderr  # which tells of progress where it takes long
    said = json.loads(done.stdout)
    assert (said["rows"]["predictions"], said["champion"]) == (3, "")
    assert ask(tmp_path, "GET", "/readyz") == (200, "ready\n")  # it waited for that
    assert counted(tmp_path) == 3
    words = [word for word in manager.rest() if word != "WATCHDOG=1"]
    assert words == ["RELOADING=1", "READY=1"]  # to systemd it is one service all along
    assert process.poll() is None
    (before,) = kept(tmp_path)
    logged = before.with_name(before.name.replace("flywheel.duckdb", "redo"))
    assert said["kept"] == [str(before), str(logged)]
    send(tmp_path, 6)
    undone = command(tmp_path, "db", "restore", before)
    assert undone.returncode == 0
    assert undone.stdout.startswith(f"restored {before}: 5 predictions\n")
    assert counted(tmp_path) == 5
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=CEILING_S)
    assert process.returncode == 0
    assert [ids(path) for path in kept(tmp_path)] == [
        {"p1", "p2", "p3", "p4", "p5"},
        {"p1", "p2", "p3", "p6"},
    ]
    assert ids(tmp_path / "var" / "flywheel.duckdb") == {"p1", "p2", "p3", "p4", "p5"}


@pytest.fixture(scope="module")
def unusable(tmp_path_factory):
    """Files that are no backup for this flywheel, by what is wrong with them."""
    folder = tmp_path_factory.mktemp("unusable")
    good = folder / "good"
    store = open_store(good)
    with store.write() as con:
        con.execute(
            "INSERT INTO rejected BY NAME SELECT 'predictions' AS kind, i AS line, "
            "hash(i)::VARCHAR AS raw, '' AS field, '' AS why, now()::TIMESTAMP AS happened_at "
            "FROM range(100000) AS r(i)"
        )
    store.close()
    whole = good.read_bytes()
    middle = len(whole) // 2
    newer = folder / "newer"
    shutil.copy(good, newer)
    with duckdb.connect(str(newer)) as con:
        con.execute("INSERT INTO schema_version VALUES (999, 'of tomorrow')")
    foreign = folder / "foreign"
    with duckdb.connect(str(foreign)) as con:
        con.execute("CREATE TABLE cats (name VARCHAR)")
    return {
        "empty": b"",
        "text": b"nonsense" * 1000,
        "another program's database": foreign.read_bytes(),
        "of a newer flywheel": newer.read_bytes(),
        "cut off": whole[:middle],
        "damaged in the middle": whole[:middle] + bytes(8192) + whole[middle + 8192 :],
    }


def test_what_is_no_backup_is_refused_and_the_daemon_is_undisturbed(start, unusable, tmp_path):
    process = start()
    send(tmp_path, 1, 2)
    for what, content in unusable.items():
        status, said = ask(tmp_path, "POST", "/v1/restore", content)
        assert (status, "nothing was changed" in said["hint"]) == (409, True), (what, said)
        assert counted(tmp_path) == 2
        names = {path.name for path in (tmp_path / "var").iterdir()}
        assert not {name for name in names if "arriving" in name or "-20" in name}, what
    assert ask(tmp_path, "GET", "/readyz")[0] == 200
    (tmp_path / "copy").write_bytes(unusable["of a newer flywheel"])
    refused = command(tmp_path, "db", "restore", tmp_path / "copy")
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: the backup cannot be used: the database has schema ")
    assert process.poll() is None


@pytest.mark.parametrize("sent", ["half of it", "all of it"])
def test_who_goes_away_before_the_answer_changed_nothing(start, tmp_path, sent):
    process = start()
    send(tmp_path, 1)
    assert command(tmp_path, "db", "backup", tmp_path / "copy").returncode == 0
    send(tmp_path, 2)
    copy = (tmp_path / "copy").read_bytes()
    arriving = tmp_path / "var" / "flywheel.duckdb.arriving"
    head = f"POST /v1/restore HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(copy)}\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(tmp_path / "var" / "flywheel.sock"))
        caller.sendall(head.encode() + copy[: len(copy) // 2])
        until(arriving.exists)
        if sent == "all of it":
            caller.sendall(copy[len(copy) // 2 :])
    until(lambda: not arriving.exists())
    assert counted(tmp_path) == 2
    assert process.poll() is None
    assert not list((tmp_path / "var").glob("*-20*"))


@pytest.mark.slow
def test_a_backup_of_an_older_flywheel_is_brought_up_to_date(start, tmp_path):
    shipped = schema.shipped()
    with duckdb.connect(str(tmp_path / "old")) as con:
        schema.migrate(con, shipped[:-1])
    start()
    send(tmp_path, 1)
    assert command(tmp_path, "db", "restore", tmp_path / "old").returncode == 0
    assert ask(tmp_path, "GET", "/readyz") == (200, "ready\n")
    assert counted(tmp_path) == 0
    assert ask(tmp_path, "GET", "/v1/check")[1]["rows"]["schema_version"] == len(shipped)


@pytest.mark.slow
def test_what_arrives_meanwhile_is_acknowledged_and_kept_or_not_acknowledged(start, tmp_path):
    process = start()
    send(tmp_path, 0)
    assert command(tmp_path, "db", "backup", tmp_path / "copy").returncode == 0
    acknowledged, over, answers = set(), threading.Event(), set()

    def write(first):
        for number in range(first, first + 100_000):
            if over.is_set():
                return
            (event,) = events(number)
            try:
                status, _ = ask(tmp_path, "POST", "/v1/predictions", event)
            except (OSError, http.client.HTTPException):  # nothing listens for a moment
                over.wait(0.05)
                continue
            answers.add(status)
            if status == 200:
                acknowledged.add(event["id"])

    writers = [threading.Thread(target=write, args=(n * 100_000 + 1,)) for n in range(3)]
    for writer in writers:
        writer.start()
    until(lambda: len(acknowledged) > 20)
    assert command(tmp_path, "db", "restore", tmp_path / "copy").returncode == 0
    so_far = len(acknowledged)
    until(lambda: len(acknowledged) > so_far + 20)
    over.set()
    for writer in writers:
        writer.join()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=CEILING_S)
    (before,) = kept(tmp_path)
    old, new = ids(before), ids(tmp_path / "var" / "flywheel.duckdb")
    assert acknowledged <= old | new
    assert old & new == {"p0"}  # an event is of one of the two times
    assert answers <= {200, 503}


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["at once", "as it stops", "as it changes", "as it is ready"])
def test_killed_after_its_answer_it_has_the_backup_at_the_next_start(
    start, manager, tmp_path, moment
):
    process = start()
    send(tmp_path, 1, 2)
    assert command(tmp_path, "db", "backup", tmp_path / "copy").returncode == 0
    send(tmp_path, 3)
    status, said = ask(tmp_path, "POST", "/v1/restore", (tmp_path / "copy").read_bytes())
    assert (status, said["rows"]["predictions"]) == (202, 2)
    if moment == "as it stops":
        until(lambda: ask_or_nothing(tmp_path) != 200)
    elif moment == "as it changes":
        until(lambda: kept(tmp_path))
    elif moment == "as it is ready":
        until(lambda: kept(tmp_path) and ask_or_nothing(tmp_path) == 200)
    process.kill()
    process.wait()
    manager.rest()
    manager.heard.clear()
    start()
    assert counted(tmp_path) == 2
    assert [ids(path) for path in kept(tmp_path)] == [{"p1", "p2", "p3"}]
