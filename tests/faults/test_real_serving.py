"""The real daemon and the real `flywheel serve`: promoted, proved, killed, and found as before."""

import os
import signal
import socket
import subprocess
import sys

import pytest
from daemon_under_test import CONFIG, Daemon, starter_rows

from flywheel.demo.grammar import STARTER
from flywheel.serving.endpoint import on_socket
from tests.waiting import CEILING_S, until

LOCAL = CONFIG + '[serving]\nkind = "local"\n'


class Served:
    """`flywheel serve` on the folder of a daemon."""

    def __init__(self, folder):
        self.folder = folder
        self.endpoint = on_socket(folder / "var" / "serve.sock", CEILING_S)
        self.process = None

    def start(self):
        with (self.folder / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flywheel", "-c", str(self.folder / "config.toml"), "serve"],
                stdout=log,
                stderr=log,
            )

    def kill(self):
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(CEILING_S)

    def answer(self, text):
        return self.endpoint.post("/v1/predict", {"text": text})


@pytest.mark.slow
def test_a_promotion_is_proved_and_outlives_the_death_of_both(tmp_path):
    (tmp_path / "config.toml").write_text(LOCAL)
    (tmp_path / "intents.toml").write_text((STARTER / "intents.toml").read_text())
    served = Served(tmp_path)
    with Daemon(tmp_path) as daemon:
        daemon.start()
        served.start()
        try:
            for split in ("seed", "dev", "golden"):
                daemon.client.post("/v1/samples", starter_rows(split))
            assert daemon.turn()["state"] == "done"

            def serving():
                return daemon.client.get("/v1/status")["serving"]

            def proved(after=""):
                now = serving()
                parity = now["parity"]
                done = parity and not now["waiting"] and not now["applying"] and now["engine"]
                return done and parity["at"] > after

            until(proved, serving)
            champion, first = serving()["adapter"], serving()["parity"]
            assert champion == daemon.client.get("/v1/status")["champion"]
            assert (first["differing"], first["asked"]) == (0, 50)
            assert served.answer("wake me at seven")["adapter"] == champion
            served.kill()
            until(lambda: "no server answers" in serving()["waiting"], serving)
            served.start()
            until(lambda: proved(first["at"]), serving)  # asked again, by itself
            assert served.answer("wake me at seven")["adapter"] == champion
            daemon.kill()
            assert served.answer("wake me at seven")["adapter"] == champion
            daemon.start()
            until(proved, serving)
            assert serving()["parity"]["differing"] == 0
        finally:
            served.kill()


REMOTE = """
[serving]
kind = "local"
tcp = "127.0.0.1:{port}"
[api.tokens.daemon]
env = "PROVE_TOKEN"
role = "prove"
"""
COMMAND = """
[serving]
kind = "command"
command = ["sh", "{program}"]
url = "http://127.0.0.1:{port}"
token_env = "PROVE_TOKEN"
"""
DEPLOY = """
url=http://localhost/v1/serving
order() {{ curl -fsS --unix-socket {there}/serve.sock $url/$1 -d "$2" || exit 75; }}
case $1 in
prepare) cp -r "$3" {there}/adapters/; order prepare "{{\\"adapter\\": \\"$2\\"}}" ;;
switch) order switch "{{\\"adapter\\": \\"$2\\"}}"; ln -sfn "$2" {there}/adapters/champion ;;
esac
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@pytest.mark.slow
def test_a_server_elsewhere_is_proved_over_tcp_before_the_champion_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("PROVE_TOKEN", "prove" * 8)
    here, there, port = tmp_path / "here", tmp_path / "there", free_port()
    for folder in (here, there):
        folder.mkdir()
        (folder / "intents.toml").write_text((STARTER / "intents.toml").read_text())
    (there / "var" / "adapters").mkdir(parents=True)
    (there / "config.toml").write_text(REMOTE.format(port=port))
    program = tmp_path / "deploy.sh"
    program.write_text(DEPLOY.format(there=there / "var"))
    (here / "config.toml").write_text(CONFIG + COMMAND.format(program=program, port=port))
    served = Served(there)
    with Daemon(here) as daemon:
        daemon.start()
        for split in ("seed", "dev", "golden"):
            daemon.client.post("/v1/samples", starter_rows(split))
        assert daemon.turn()["state"] == "done"
        until(lambda: "ended with 75" in daemon.client.get("/v1/status")["serving"]["waiting"])
        served.start()
        try:
            until(lambda: daemon.client.get("/v1/status")["champion"])
            champion = daemon.client.get("/v1/status")["champion"]
            until(lambda: served.answer("wake me at seven")["adapter"] == champion)
            check = daemon.client.get("/v1/status")["serving"]["parity"]
            assert (check["asked"] > 0, check["differing"]) == (True, 0)
        finally:
            served.kill()
