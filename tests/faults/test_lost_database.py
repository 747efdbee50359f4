"""DuckDB's own FATAL ends the daemon, which says so before; what it acknowledged is there after."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flywheel.unix_socket import UnixConnection
from tests.waiting import CEILING_S, until

CONFIG = '[schedule]\ncron = ""\n'
INTENTS = '[[intent]]\nname = "set_alarm"\n'
# Read by the child's Python at its start, and there only: the next checkpoint fails half way,
# after which DuckDB refuses every statement.
HOOK = """
import duckdb

honest = duckdb.connect

def connect(*args, **kwargs):
    con = honest(*args, **kwargs)
    con.execute("SET debug_checkpoint_abort = 'before_header'")
    return con

duckdb.connect = connect
"""


@pytest.fixture
def start(tmp_path):
    (tmp_path / "config.toml").write_text(CONFIG, encoding="utf-8")
    (tmp_path / "intents.toml").write_text(INTENTS, encoding="utf-8")
    started = []

    def begin(**environment):
        command = [sys.executable, "-m", "flywheel", "run", "--config"]
        process = subprocess.Popen(
            [*command, str(tmp_path / "config.toml")],
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        until(lambda: process.poll() is not None or ask(tmp_path, "GET", "/readyz")[0] == 200)
        assert process.poll() is None, process.communicate()[1]
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def ask(folder, method, path, body=None):
    connection = UnixConnection(folder / "var" / "flywheel.sock", CEILING_S)
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except OSError as error:
        return 0, str(error)
    finally:
        connection.close()


@pytest.mark.slow
def test_a_fatal_error_of_the_database_is_told_and_ends_the_daemon_with_1(start, tmp_path):
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(HOOK, encoding="utf-8")
    path = os.pathsep.join([str(hooks), os.environ.get("PYTHONPATH", str(Path.cwd()))])
    process = start(PYTHONPATH=path, WATCHDOG_USEC="6000000")
    event = {"id": "p-1", "ts": "2026-11-22T05:17:00Z", "text": "wake me", "intent": "set_alarm"}
    assert ask(tmp_path, "POST", "/v1/predictions", event)[0] == 200
    status, said = ask(tmp_path, "POST", "/v1/erase", {"rater": "nobody"})  # checkpoints
    assert (status, "database" in said) == (503, True), said
    status, said = ask(tmp_path, "GET", "/readyz")
    assert status == 503
    assert "the database does not work" in said
    assert ask(tmp_path, "GET", "/healthz")[0] == 200  # the process still answers
    _, errors = process.communicate(timeout=CEILING_S)
    assert process.returncode == 1, errors
    log = (tmp_path / "logs" / "flywheel.jsonl").read_text(encoding="utf-8")
    assert "daemon.gives_up" in log
    process = start()
    told = json.loads(ask(tmp_path, "GET", "/v1/status")[1])
    assert told["backlog"]["predictions"] == 1
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=CEILING_S)
    assert process.returncode == 0
