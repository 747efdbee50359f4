"""`[serving] kind = "command"`: a program of yours deploys, and a URL is asked for the proof."""

import http.server
import json
import threading

import pytest

from flywheel.errors import NotLoaded, ServingAway
from flywheel.protocols import AskedServing
from flywheel.serving import CommandServing

SCRIPT = """#!/bin/sh
echo "$@" >> {log}
exit $(cat {code})
"""


@pytest.fixture
def endpoint():
    """A server that answers with the adapter that a request names, and wants a token."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = self.headers.get("authorization") == "Bearer secret"
            adapter = self.headers.get("x-flywheel-adapter")
            answer = {"adapter": adapter, "intent": self.path, "arguments": {}, "confidence": 1}
            body = {"predictions": [answer for _ in asked["inputs"]]}
            content = json.dumps(body if known else {"error": "no valid token"}).encode()
            self.send_response(200 if known else 401)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *words):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/router"
    server.shutdown()
    server.server_close()


class Deployed:
    def __init__(self, folder, url, token="secret"):
        for name in ("a-1", "a-2"):
            (folder / "adapters" / name).mkdir(parents=True, exist_ok=True)
        self.folder, self.code = folder, folder / "code"
        self.code.write_text("0")
        program = folder / "deploy"
        program.write_text(SCRIPT.format(log=folder / "calls", code=self.code))
        program.chmod(0o755)
        self.serving = CommandServing(folder / "adapters", [str(program), "--fast"], url, token)

    def calls(self):
        return (self.folder / "calls").read_text().replace(f"{self.folder}/", "").splitlines()


def test_it_is_prepared_then_asked_then_switched_to(tmp_path, endpoint):
    deployed = Deployed(tmp_path, endpoint)
    serving = deployed.serving
    assert isinstance(serving, AskedServing)
    serving.prepare("a-1")
    assert serving.state().adapter is None
    (answer,) = serving.ask("a-1", ["wake me"])
    assert (answer.adapter, answer.intent) == ("a-1", "/router/v1/predict")
    serving.promote("a-1")
    serving.promote("a-1")
    serving.prepare("a-2")
    serving.drop("a-2")
    assert (serving.serving(), serving.state().adapter) == ("a-1", "a-1")
    serving.retire()
    serving.retire()
    assert serving.serving() is None
    assert deployed.calls() == [
        "--fast prepare a-1 adapters/a-1",
        "--fast switch a-1 adapters/a-1",
        "--fast prepare a-2 adapters/a-2",
        "--fast drop a-2 adapters/a-2",
        "--fast retire",
    ]


@pytest.mark.parametrize(("status", "error"), [("75", ServingAway), ("1", NotLoaded)])
def test_its_exit_status_says_whether_to_try_again(tmp_path, endpoint, status, error):
    deployed = Deployed(tmp_path, endpoint)
    deployed.code.write_text(status)
    for act in (deployed.serving.prepare, deployed.serving.promote):
        with pytest.raises(error, match=f"ended with {status}"):
            act("a-1")
    deployed.serving.drop("a-1")
    assert deployed.serving.serving() is None


def test_a_program_that_is_not_there_is_tried_again(tmp_path, endpoint):
    serving = CommandServing(tmp_path, [str(tmp_path / "none")], endpoint)
    with pytest.raises(ServingAway, match="No such file"):
        serving.prepare("a-1")


def test_an_endpoint_that_does_not_let_us_in_is_away(tmp_path, endpoint):
    with pytest.raises(ServingAway, match="no valid token"):
        Deployed(tmp_path, endpoint, token="").serving.ask("a-1", ["wake me"])
