"""Hooks are told of decisions after the commit, in order, at least once, and hold up nothing."""

import json
import os
import sys
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from runtimes import runtime_in

from flywheel.config import HooksTable, PromotionTable
from flywheel.daemon import hooks as hooks_module
from flywheel.daemon.hooks import Hooks
from flywheel.records import Decision
from flywheel.store import decisions
from tests.waiting import CEILING_S, until

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def make(tmp_path):
    made = []

    def with_hooks(**table):
        promotion = PromotionTable(hooks=HooksTable(**table))
        made.append(runtime_in(tmp_path, promotion=promotion))
        return made[-1], Hooks(made[-1])

    yield with_hooks
    for runtime in made:
        runtime.store.close()


def decide(runtime, number, verdict, status, waits_for="a person"):
    with runtime.store.write() as con:
        decisions.add(
            con,
            Decision(
                id=f"d-{number}",
                turn=None,
                challenger="a-2",
                champion="a-1",
                verdict=verdict,
                status=status,
                by="gates",
                because="so",
                at=NOON,
                rests_on={"waits_for": waits_for},
            ),
        )


def happen(runtime, name, status):
    with runtime.store.write() as con:
        decisions.set_status(con, name, status, "uid:7", "checked", NOON)


def everything_happens(runtime):
    decide(runtime, 1, "hold", "pending")
    happen(runtime, "d-1", "applied")
    decide(runtime, 2, "promote", "pending", waits_for="nobody")
    happen(runtime, "d-2", "applied")
    decide(runtime, 3, "reject", "rejected")
    decide(runtime, 4, "rollback", "pending")
    happen(runtime, "d-4", "applied")
    decide(runtime, 5, "hold", "pending")
    happen(runtime, "d-5", "expired")
    decide(runtime, 6, "promote", "pending", waits_for="nobody")
    with runtime.store.write() as con:  # [promotion] changed before it was applied
        decisions.set_status(con, "d-6", "pending", "gates", "so", NOON, decisions.WAITS)


TOLD = [
    ("d-1", "held"),
    ("d-1", "promoted"),
    ("d-2", "promoted"),
    ("d-3", "rejected"),
    ("d-4", "rolled_back"),
    ("d-5", "held"),
    ("d-6", "held"),
]


def keeping(folder, code=0):
    script = (
        "import pathlib, sys\n"
        f"with pathlib.Path({str(folder / 'told')!r}).open('a') as f:\n"
        "    f.write(sys.stdin.read() + chr(10))\n"
        f"sys.exit({code})\n"
    )
    return (sys.executable, "-c", script)


def told(folder):
    lines = (folder / "told").read_text().splitlines()
    return [(event["decision"], event["event"]) for event in map(json.loads, lines)]


def test_a_command_is_told_each_event_once_and_in_order(make, tmp_path):
    runtime, hooks = make(command=keeping(tmp_path))
    decide(runtime, 0, "reject", "rejected")  # before the hook was ever asked
    hooks.tell()
    everything_happens(runtime)
    hooks.tell()
    hooks.tell()
    assert told(tmp_path) == TOLD
    assert hooks.problems() == ()


def test_only_the_events_asked_for_are_told(make, tmp_path):
    runtime, hooks = make(command=keeping(tmp_path), events=("rolled_back",))
    hooks.tell()
    everything_happens(runtime)
    hooks.tell()
    assert told(tmp_path) == [("d-4", "rolled_back")]


def test_a_hook_that_fails_is_tried_again_and_shown(make, tmp_path):
    runtime, failing = make(command=keeping(tmp_path, code=3))
    failing.tell()
    decide(runtime, 1, "reject", "rejected")
    failing.tell()
    failing.tell()
    assert told(tmp_path) == [("d-1", "rejected")] * 2
    (problem,) = failing.problems()
    assert problem.startswith("the command hook failed 2 times on d-1: OSError: exit 3")


def test_hooks_that_could_not_be_told_at_all_are_a_problem_until_they_can(
    make, tmp_path, monkeypatch
):
    _, hooks = make(command=keeping(tmp_path))
    monkeypatch.setattr(hooks_module, "POLL_S", 0.01)
    broken, tell = threading.Event(), hooks.tell
    broken.set()

    def told_or_not():
        if broken.is_set():
            raise KeyError("a defect")
        tell()

    monkeypatch.setattr(hooks, "tell", told_or_not)
    hooks.start()
    until(lambda: hooks.problems() != ())
    assert hooks.problems() == ("hooks could not be told (KeyError), see `flywheel log`",)
    broken.clear()
    until(lambda: hooks.problems() == ())
    assert hooks.stop(CEILING_S)


def test_a_command_gets_no_secret_but_those_that_are_named_for_it(make, tmp_path, monkeypatch):
    for name in ("TEACHER_KEY", "CHAT_TOKEN", "MY_SETTING"):
        monkeypatch.setenv(name, "s3cret")
    script = (
        "import json, os, pathlib\n"
        f"pathlib.Path({str(tmp_path / 'told')!r}).write_text(json.dumps(dict(os.environ)))\n"
    )
    runtime, hooks = make(command=(sys.executable, "-c", script), command_env=("CHAT_TOKEN",))
    hooks.tell()
    decide(runtime, 1, "reject", "rejected")
    hooks.tell()
    given = json.loads((tmp_path / "told").read_text())
    assert given["CHAT_TOKEN"] == "s3cret"
    assert given["PATH"] == os.environ["PATH"]
    assert not {"TEACHER_KEY", "MY_SETTING"} & set(given)


@pytest.fixture
def webhook(monkeypatch):
    """Listens at an address of its own; `got` has each event with its headers."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            length = int(self.headers.get("Content-Length", 0))
            server.got.append((self.path, json.loads(self.rfile.read(length)), dict(self.headers)))
            self.send_response(server.status)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self):  # what a client asks that follows a redirect
            server.got.append((self.path, None, dict(self.headers)))
            self.send_error(404)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.got, server.status = [], 204
    server.url = f"http://127.0.0.1:{server.server_port}/tell"
    monkeypatch.setenv("HOOK_TOKEN", "s3cret")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()

    def close():
        if thread.is_alive():
            server.shutdown()
            server.server_close()
            thread.join()

    server.close = close
    yield server
    close()


def test_a_webhook_that_redirects_is_refused_and_its_token_goes_nowhere(make, webhook):
    webhook.status = 302
    runtime, hooks = make(webhook=webhook.url, token_env="HOOK_TOKEN")
    hooks.tell()
    decide(runtime, 1, "hold", "pending")
    hooks.tell()
    assert [path for path, _, _ in webhook.got] == ["/tell"]
    (problem,) = hooks.problems()
    assert "HTTP Error 302: it redirects, which is not followed" in problem


def test_a_webhook_gets_json_with_its_token_and_the_number_of_the_event(make, webhook):
    runtime, hooks = make(webhook=webhook.url, token_env="HOOK_TOKEN")
    hooks.tell()
    decide(runtime, 1, "hold", "pending")
    hooks.tell()
    webhook.close()
    happen(runtime, "d-1", "applied")
    hooks.tell()
    ((_, event, headers),) = webhook.got
    assert (event["event"], event["because"], event["challenger"]) == ("held", "so", "a-2")
    assert (headers["Authorization"], headers["Flywheel-Event"]) == ("Bearer s3cret", "1")
    assert hooks.problems()  # nobody listens any more
