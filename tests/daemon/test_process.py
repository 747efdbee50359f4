"""The whole daemon as a process of its own, met over its socket."""

import contextlib
import http.client
import json
import os
import pwd
import signal
import socket
import stat
import subprocess
import sys
import threading
from datetime import UTC, datetime

from real_daemon import QUIET, ask
from state_folder import write_config

import flywheel
from flywheel.daemon.process import Daemon
from flywheel.store import open_store, turns
from tests.waiting import CEILING_S

ME = f"{pwd.getpwuid(os.getuid()).pw_name} (uid {os.getuid()})"


def test_the_life_of_a_daemon(start, manager, tmp_path):
    process = start(WATCHDOG_USEC="600000")
    path = tmp_path / "var" / "flywheel.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    status, said = ask(tmp_path, "GET", "/v1/status")
    assert (status, said["version"]) == (200, flywheel.__version__)
    assert ask(tmp_path, "GET", "/readyz") == (200, "ready\n")
    manager.heard.clear()
    manager.wait_for("WATCHDOG=1")
    manager.heard.insert(0, "READY=1")
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=CEILING_S)
    assert process.returncode == 0, errors
    words = manager.rest()
    assert words[0] == "READY=1"
    assert words[-1] == "STOPPING=1"
    assert set(words[1:-1]) == {"WATCHDOG=1"}
    assert not path.exists()
    assert not (tmp_path / "var" / "flywheel.duckdb.wal").exists()  # checkpointed
    log = (tmp_path / "logs" / "flywheel.jsonl").read_text(encoding="utf-8")
    events = [json.loads(line).get("event") for line in log.splitlines()]
    assert events[-3:] == ["daemon.ready", "daemon.stopping", "daemon.stopped"]


def test_what_was_accepted_is_there_after_a_kill(start, manager, tmp_path):
    process = start()
    event = {
        "id": "p-1",
        "ts": "2026-11-22T05:17:00Z",
        "text": "我要听音乐",
        "intent": "play_music",
    }
    assert ask(tmp_path, "POST", "/v1/predictions", event)[1]["accepted"] == 1
    process.kill()
    process.wait()
    manager.heard.clear()
    start()
    assert ask(tmp_path, "GET", "/v1/status")[1]["backlog"]["predictions"] == 1
    ask(tmp_path, "POST", "/v1/predictions", event)
    assert ask(tmp_path, "GET", "/v1/status")[1]["backlog"]["predictions"] == 1


def make_ready(folder):
    """Something to learn from and to judge by, without which no turn is opened."""
    for split in ("seed", "golden"):
        row = {"text": f"wake me {split}", "intent": "set_alarm", "split": split}
        assert ask(folder, "POST", "/v1/samples", row)[1]["accepted"] == 1


def test_the_caller_is_known_by_the_kernel_and_ctrl_c_ends_cleanly(start, tmp_path):
    process = start()
    make_ready(tmp_path)
    assert ask(tmp_path, "POST", "/v1/turns")[1]["trigger"] == f"asked by {ME}"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=CEILING_S)
    assert process.returncode == 0
    assert "Traceback" not in errors


def test_a_second_daemon_on_the_folder_refuses_and_names_the_first(start, tmp_path):
    first = start()
    second = start(ready=False)
    _, errors = second.communicate(timeout=CEILING_S)
    assert second.returncode == 1
    assert f"process {first.pid} holds it" in errors
    assert "Traceback" not in errors
    assert ask(tmp_path, "GET", "/healthz")[0] == 200


def test_sighup_and_reload_take_on_a_changed_file_and_refuse_a_wrong_one(start, manager, tmp_path):
    process = start()
    assert ask(tmp_path, "GET", "/v1/status")[1]["next_turn"] is None
    write_config(tmp_path, '[schedule]\ncron = "0 3 * * *"\n')
    manager.heard.clear()
    process.send_signal(signal.SIGHUP)
    manager.wait_for("RELOADING=1")
    manager.wait_for("READY=1")
    assert "T03:00" in ask(tmp_path, "GET", "/v1/status")[1]["next_turn"]
    write_config(tmp_path, "[schedule]\ncorn = 1\n")
    status, said = ask(tmp_path, "POST", "/v1/reload")
    assert (status, said["hint"]) == (400, "did you mean `cron`?")
    assert "T03:00" in ask(tmp_path, "GET", "/v1/status")[1]["next_turn"]


def test_a_backup_is_taken_while_events_arrive(start, tmp_path):
    start()
    events = [
        {"id": f"p{i}", "ts": "2026-11-22T05:17:00Z", "text": f"wake {i}", "intent": "set_alarm"}
        for i in range(40)
    ]
    for event in events[:20]:
        ask(tmp_path, "POST", "/v1/predictions", event)
    writer = threading.Thread(
        target=lambda: [ask(tmp_path, "POST", "/v1/predictions", one) for one in events[20:]]
    )
    writer.start()
    command = [sys.executable, "-m", "flywheel", "--config", str(tmp_path / "config.toml"), "db"]
    done = subprocess.run([*command, "backup", str(tmp_path / "copy")], capture_output=True)
    writer.join()
    assert done.returncode == 0, done.stderr
    assert subprocess.run([*command, "check"], capture_output=True).returncode == 0
    assert ask(tmp_path, "GET", "/v1/status")[1]["backlog"]["predictions"] == 40
    copy = open_store(tmp_path / "copy")
    with contextlib.closing(copy), copy.read() as con:
        ids = {row[0] for row in con.execute("SELECT id FROM predictions").fetchall()}
    assert {one["id"] for one in events[:20]} <= ids
    assert list((tmp_path / "var" / "outgoing").iterdir()) == []


def test_who_stops_a_daemon_that_starts_anew_wants_it_to_stay_so(make_runtime):
    daemon = Daemon(make_runtime(QUIET))
    with daemon.taking_events():
        daemon._asked_to_restart()
        assert daemon.again
        assert daemon.problems() == ("it starts anew, with a backup in the place of the database",)
        daemon._asked_to_stop(signal.SIGTERM)
        assert not daemon.again
        daemon._asked_to_restart()
        assert not daemon.again


def test_tcp_without_a_token_is_refused_at_the_start(start):
    process = start('[api]\ntcp = "127.0.0.1:0"\n', ready=False)
    _, errors = process.communicate(timeout=CEILING_S)
    assert process.returncode == 1
    assert "needs a token" in errors


def test_over_tcp_the_uid_of_nobody_counts(start, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    table = f'[api]\ntcp = "127.0.0.1:{port}"\ntoken_env = "WHEEL_TOKEN"\n'
    start(QUIET + table, WHEEL_TOKEN="s3cret")
    make_ready(tmp_path)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CEILING_S)
    with contextlib.closing(connection):
        connection.request("GET", "/v1/status")
        refused = connection.getresponse()
        assert (refused.status, bool(refused.read())) == (401, True)
        connection.request("POST", "/v1/turns", headers={"Authorization": "Bearer s3cret"})
        answer = connection.getresponse()
        assert answer.status == 202
        assert json.loads(answer.read())["trigger"] == "asked by token"
    log = (tmp_path / "logs" / "flywheel.jsonl").read_text(encoding="utf-8")
    assert log.count("the token of [api] token_env is short: it can be guessed") == 1


def test_once_is_refused_while_there_is_nothing_to_learn_or_judge_by(start):
    process = start(QUIET, "--once", ready=False)
    _, errors = process.communicate(timeout=CEILING_S)
    assert process.returncode == 1
    assert "no turn can be opened: there is nothing to learn from" in errors
    assert "flywheel samples import FILE --split golden" in errors
    assert "Traceback" not in errors


def test_once_runs_the_turn_that_was_left_open_and_exits_by_its_end(start, tmp_path):
    write_config(tmp_path, QUIET)
    (tmp_path / "var").mkdir()
    store = open_store(tmp_path / "var" / "flywheel.duckdb")
    with store.write() as con:
        turns.open_turn(con, "asked by ana", datetime(2026, 11, 22, tzinfo=UTC), "diagnose")
    store.close()
    process = start(QUIET, "--once", ready=False)
    _, errors = process.communicate(timeout=CEILING_S)
    log = (tmp_path / "logs" / "flywheel.jsonl").read_text(encoding="utf-8")
    (end,) = (
        json.loads(line)["message"]
        for line in log.splitlines()
        if json.loads(line).get("event") == "daemon.once"
    )
    word = end.removeprefix("t-1 ended: ")
    assert process.returncode == (0 if word in ("done", "held") else 1), errors


def test_a_champion_that_cannot_be_served_is_told_and_the_daemon_answers(start, tmp_path):
    from datetime import UTC, datetime

    from flywheel.records import Adapter
    from flywheel.store import adapters, open_store

    (tmp_path / "var").mkdir()
    store = open_store(tmp_path / "var" / "flywheel.duckdb")
    now = datetime(2026, 11, 22, tzinfo=UTC)
    lost = Adapter(
        id="a-lost",
        base="b",
        recipe="r",
        dataset="d",
        parent=None,
        created_at=now,
        state="champion",
    )
    with store.write() as con:
        adapters.add(con, lost)
        adapters.set_champion(con, "a-lost", "d-1", now)
    store.close()
    start()
    assert "a-lost has no folder" in " ".join(ask(tmp_path, "GET", "/v1/status")[1]["problems"])


def test_a_watch_without_a_second_arm_is_told_in_the_log_and_in_status(start, tmp_path):
    start(QUIET + '\n[watch]\nmode = "rollback"\n[serving]\ncanary = 0.0\n')
    problems = ask(tmp_path, "GET", "/v1/status")[1]["problems"]
    assert [each for each in problems if "nothing to compare with" in each]
    log = (tmp_path / "logs" / "flywheel.jsonl").read_text(encoding="utf-8")
    told = [json.loads(line) for line in log.splitlines()]
    assert [each["level"] for each in told if each.get("event") == "config.without_effect"] == [
        "warning"
    ]
