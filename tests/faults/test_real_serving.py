"""The real daemon and the real `flywheel serve`: promoted, proved, killed, and found as before."""

import os
import signal
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
