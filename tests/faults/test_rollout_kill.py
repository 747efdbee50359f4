"""`kill -9` of the daemon at every moment of a rollout, and of the server: nothing is lost by it.

A person approved; the daemon dies before or after each part of what follows, or the server dies
while it is asked. In the end the decision is applied once, by an adapter that was proved.
"""

import contextlib
import random
import shutil
import signal

import pytest
from killable_daemon import running, start
from runtimes import runtime_in
from test_killed import CONFIG
from waiting_promotion import REVIEW, story_in

from flywheel.config import ServingTable
from flywheel.errors import DaemonUnreachable
from flywheel.store import adapters, decisions, parity_checks
from flywheel.turn import approve, integrity
from tests.fakes.inference_server import InferenceServer
from tests.waiting import CEILING_S, until

PARTS = ("_apply_waiting", "_checked", "_round", "_settle", "_install", "install", "_follow")
PARTS += ("_serve", "_ask_again")
FATES = [("rollout", part, moment) for part in PARTS for moment in ("before", "after")]
REQUESTS = ("/v1/serving/prepare", "/v1/predict", "/v1/serving/switch", "/v1/serving")
SAMPLE = random.Random(3).sample(FATES, 1)
LOCAL = CONFIG.replace('mode = "auto"', 'mode = "review"') + '[serving]\nkind = "local"\n'


@pytest.fixture(scope="module")
def approved(tmp_path_factory):
    """A folder in which d-3 is being applied, and nothing was done about it yet."""
    folder = tmp_path_factory.mktemp("approved")
    story = story_in(folder)
    runtime = runtime_in(folder, promotion=REVIEW, serving=ServingTable(kind="local"))
    with contextlib.closing(runtime.store):
        assert approve(runtime, "d-3", "ada (uid 7)", "looks right").status == "applying"
    (folder / "config.toml").write_text(LOCAL, encoding="utf-8")
    intents = [f'[[intent]]\nname = "{one.name}"\n' for one in runtime.intents]
    (folder / "intents.toml").write_text("".join(intents), encoding="utf-8")
    return folder, story


@pytest.fixture
def folder(approved, tmp_path):
    shutil.copytree(approved[0], tmp_path / "folder", symlinks=True)
    return tmp_path / "folder"


@pytest.mark.parametrize("fate", SAMPLE, ids=" ".join)
def test_a_kill_leaves_a_proved_champion(fate, approved, folder):
    suffer(fate, approved[1], folder)


@pytest.mark.slow
@pytest.mark.parametrize("fate", FATES, ids=" ".join)
def test_a_kill_at_any_moment_leaves_a_proved_champion(fate, approved, folder):
    suffer(fate, approved[1], folder)


@pytest.mark.slow
@pytest.mark.parametrize("request_", REQUESTS)
def test_a_server_that_is_killed_at_any_request_is_asked_again(request_, approved, folder):
    with InferenceServer(folder / "var") as server:
        deaths = iter([True])
        server.before = lambda path: path == request_ and next(deaths, False) and server.stop()
        with running(folder) as (_, client):
            until(lambda: server._http is None)
            server.start()
            finish(client)
        proved(folder, approved[1], server)


def suffer(fate, story, folder):
    with InferenceServer(folder / "var") as server:
        doomed = start(folder, *fate)
        doomed.communicate(timeout=CEILING_S)
        assert doomed.returncode == -signal.SIGKILL
        with running(folder) as (_, client):
            finish(client)
        proved(folder, story, server)


def finish(client):
    """Wait until the champion of the database is served and was asked."""

    def settled():
        try:
            serving = client.get("status").value["serving"]
        except DaemonUnreachable:
            return False
        return serving["applying"] is None and not serving["waiting"] and serving["parity"]

    until(settled, "the decision is applied")


def proved(folder, story, server):
    runtime = runtime_in(folder, promotion=REVIEW, serving=ServingTable(kind="local"))
    with contextlib.closing(runtime.store), runtime.store.read() as con:
        whats = [event["what"] for event in decisions.events(con, "d-3")]
        assert whats == ["promote", "applying", "applied"]
        assert parity_checks.latest(con, decision="d-3").passed
        assert adapters.champion(con) == story.better
        assert integrity.forged(con) == ""
    assert (server.adapter, runtime.serving.serving()) == (story.better, story.better)
