"""A fake daemon: canned answers on a real Unix socket, and the real command line to ask it."""

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer

import pytest
from typer.testing import CliRunner, Result

from flywheel.cli import screen
from flywheel.cli.app import app


@pytest.fixture(autouse=True)
def _no_progress(monkeypatch):
    """On a busy machine what is quick takes long, and tells of its progress."""
    monkeypatch.setattr(screen, "_PLAIN_S", float("inf"))


@dataclass
class FakeDaemon:
    """Answers as it was told to, and remembers what it was asked."""

    folder: Path
    answers: dict = field(default_factory=dict)  # "GET /v1/status" → value, or [values in turn]
    asked: list = field(default_factory=list)  # (method, target, body, content type)

    def says(self, what, value, status=200):
        self.answers[what] = [(status, value)]
        return self

    def says_in_turn(self, what, *values):
        self.answers[what] = [(200, value) for value in values]
        return self

    def run(self, *arguments, env=None, **options) -> Result:
        env = {"FLYWHEEL_CONFIG": str(self.folder / "config.toml"), **(env or {})}
        command = list(map(str, arguments))
        return CliRunner().invoke(app, command, env=env, prog_name="flywheel", **options)

    def bodies(self, route):
        """The JSON lines that were posted to a route, batch by batch."""
        return [
            [json.loads(line) for line in body.splitlines()]
            for method, target, body, _ in self.asked
            if method == "POST" and target.split("?")[0] == route
        ]


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True
    block_on_close = False


def _handler(fake):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def address_string(self):
            return "unix"

        def log_message(self, *_):
            pass

        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fake.asked.append((self.command, self.path, body, self.headers.get("Content-Type")))
            known = fake.answers.get(f"{self.command} {self.path}")
            known = known or fake.answers.get(f"{self.command} {self.path.split('?')[0]}")
            missing = {"error": f"{self.path}: not found", "hint": "see /openapi.json"}
            status, value = known[0] if known else (404, missing)
            if known and len(known) > 1:
                known.pop(0)
            if callable(value):
                value = value(body)
            kind = "application/json"
            if isinstance(value, bytes):
                payload, kind = value, "application/x-ndjson"
            else:
                payload = json.dumps(value, ensure_ascii=False).encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_POST = answer

    return Handler


@pytest.fixture
def folder(tmp_path):
    """A folder with a config and no daemon."""
    (tmp_path / "config.toml").write_text('[flywheel]\nstate_dir = "var"\n')
    (tmp_path / "var").mkdir()
    return tmp_path


@pytest.fixture
def daemon(folder, monkeypatch):
    """A fake daemon on that folder's socket; the terminal is 80 columns wide."""
    for name in ("COLUMNS", "NO_COLOR", "FLYWHEEL_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    fake = FakeDaemon(folder)
    monkeypatch.chdir(folder / "var")
    server = _Server("flywheel.sock", _handler(fake))  # a short name: the folder's may be long
    monkeypatch.chdir(folder)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield fake
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def alone(folder):
    """The command line in a folder whose daemon does not run."""
    return FakeDaemon(folder)
