"""`flywheel serve` as it is started: a process, a really trained adapter, systemd's socket."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import httpx
import pytest

from flywheel.router import Router
from tests.waiting import CEILING_S, until

TEXTS = ["wake me at seven", "play some jazz", "what is this", "听音乐"]


@contextmanager
def serving(folder, *, config="", ready=True):
    """The process, a client of it, and what it told systemd; killed at the end if it still runs."""
    (folder / "config.toml").write_text(f'[flywheel]\nlog_dir = ""\n{config}')
    (folder / "intents.toml").write_text('[[intent]]\nname = "set_alarm"\n')
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(folder / "notify"))
        manager.settimeout(CEILING_S)
        process = subprocess.Popen(
            [sys.executable, "-m", "flywheel", "serve", "--config", str(folder / "config.toml")],
            env={**os.environ, "NOTIFY_SOCKET": str(folder / "notify")},
            stderr=subprocess.PIPE,
            text=True,
        )
        transport = httpx.HTTPTransport(uds=str(folder / "var" / "serve.sock"))
        client = httpx.Client(transport=transport, base_url="http://localhost", timeout=CEILING_S)
        try:
            if ready:
                assert manager.recv(4096).decode().startswith("READY=1")
            with client:
                yield process, client, manager
        finally:
            process.kill()
            process.communicate(timeout=CEILING_S)


@pytest.fixture
def folder(adapter, tmp_path):
    """A folder with config.toml's state folder in it, whose champion is the trained adapter."""
    home = tmp_path / "home"
    (home / "var" / "adapters").mkdir(parents=True)
    shutil.copytree(adapter, home / "var" / "adapters" / adapter.name)
    (home / "var" / "adapters" / "champion").symlink_to(adapter.name)
    return home


def test_it_answers_as_the_library_and_ends_with_what_it_said_on_disk(folder, adapter):
    wanted = Router.load(adapter).answer_batch(TEXTS)
    with serving(folder) as (process, client, manager):
        said = client.post("/v1/predict", json={"inputs": TEXTS}).json()["predictions"]
        assert [(each["intent"], each["arguments"], each["adapter"]) for each in said] == [
            (each.intent, each.arguments, adapter.name) for each in wanted
        ]
        assert [each["confidence"] for each in said] == pytest.approx(
            [each.confidence for each in wanted], abs=1e-5
        )
        until(lambda: manager.recv(4096) == b"WATCHDOG=1")
        process.kill()
        process.wait(CEILING_S)
    lines = [
        json.loads(line)
        for path in (folder / "var" / "serve" / "answers").glob("*.ndjson")
        for line in path.read_text().splitlines()
    ]
    assert [line["text"] for line in lines] == TEXTS
    assert [line["id"] for line in lines] == [each["id"] for each in said]


@pytest.mark.slow
def test_the_link_moves_and_the_server_follows_and_it_ends_when_told(folder, adapter):
    adapters = folder / "var" / "adapters"
    (adapters / "champion").unlink()
    with serving(folder) as (process, client, manager):
        assert client.post("/v1/predict", json={"text": "a"}).status_code == 503
        (adapters / "champion").symlink_to(adapter.name)
        until(lambda: client.get("/v1/serving").json()["adapter"] == adapter.name)
        assert client.get("/readyz").status_code == 200
        (adapters / ".next").symlink_to("a-000000000000")
        (adapters / ".next").replace(adapters / "champion")
        until(lambda: client.get("/v1/serving").json()["problems"])
        assert client.get("/v1/serving").json()["adapter"] == adapter.name  # which is whole
        with (folder / "config.toml").open("a") as file:
            file.write("[serving]\nqueue = 1\n")
        process.send_signal(signal.SIGHUP)
        until(lambda: manager.recv(4096).startswith(b"RELOADING=1"))
        many = {"inputs": ["a", "b"]}
        until(lambda: client.post("/v1/predict", json=many).status_code == 429)
        process.send_signal(signal.SIGTERM)
        assert process.wait(CEILING_S) == 0
        until(lambda: manager.recv(4096).startswith(b"STOPPING=1"))
    assert not (folder / "var" / "serve.sock").exists()


@pytest.mark.slow
def test_a_champion_that_is_not_what_it_was_is_not_served(folder, adapter):
    heads = folder / "var" / "adapters" / adapter.name / "heads.safetensors"
    heads.write_bytes(heads.read_bytes()[:-1] + b"\x01")
    with serving(folder, ready=False) as (process, _, _):
        assert process.wait(CEILING_S) == 1
        said = process.stderr.read()
    assert f"adapter {adapter.name}" in said
