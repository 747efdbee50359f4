"""`flywheel serve` as it is started: a process, a really trained adapter, systemd's socket."""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import httpx2
import openai
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
                until(lambda: manager.recv(4096).startswith(b"READY=1"))
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
    assert (folder / "var" / "serve.sock").is_socket()  # for the next process: systemd keeps it


_HANDED = """
import os, sys
for number, kept in enumerate(map(int, sys.argv[1].split(","))):
    os.dup2(kept, 3 + number)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(number + 1)}
os.execv(sys.executable, [sys.executable, "-m", "flywheel", "serve", "--config", sys.argv[2]])
"""


class ServiceManager:
    """Restarts the server as systemd does: what it was given to keep is handed on."""

    def __init__(self, folder):
        self.folder, self.kept = folder, []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(folder / "notify"))
        self.socket.settimeout(CEILING_S)

    def start(self):
        config = str(self.folder / "config.toml")
        command = [sys.executable, "-m", "flywheel", "serve", "--config", config]
        if self.kept:
            high = [fcntl.fcntl(each, fcntl.F_DUPFD, 50) for each in self.kept]
            command = [sys.executable, "-c", _HANDED, ",".join(map(str, high)), config]
        env = {**os.environ, "NOTIFY_SOCKET": str(self.folder / "notify")}
        self.process = subprocess.Popen(command, env=env, pass_fds=high if self.kept else ())
        for each in high if self.kept else ():
            os.close(each)
        while True:
            message, descriptors, _, _ = socket.recv_fds(self.socket, 4096, 4)
            if message.startswith(b"FDSTOREREMOVE=1"):
                self.close()
            self.kept += descriptors
            if message.startswith(b"READY=1"):
                return

    def close(self):
        for each in self.kept:
            os.close(each)
        self.kept = []


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"  # httpcore leaves a refused socket to the gc
)
def test_a_restart_loses_no_request_of_openais_client(folder, monkeypatch):
    """New connections wait for the next process, kept ones are told that they end.

    A client that does not try again may meet the close of a connection that was idle for long.
    """
    (folder / "config.toml").write_text(
        '[flywheel]\nlog_dir = ""\n[serving]\ntcp = "127.0.0.1:0"\n'
        '[api.tokens.shop]\nenv = "SHOP"\nrole = "ask"\n'
    )
    (folder / "intents.toml").write_text('[[intent]]\nname = "set_alarm"\n')
    monkeypatch.setenv("SHOP", "s" * 32)
    manager, stop, answered, failed = ServiceManager(folder), threading.Event(), [], []

    def ask_on(retries):
        transport = httpx2.HTTPTransport(uds=str(folder / "var" / "serve.sock"))
        with openai.OpenAI(
            base_url="http://localhost/v1",
            api_key="none",
            max_retries=retries,
            http_client=httpx2.Client(transport=transport, timeout=CEILING_S),
        ) as client:
            while not stop.is_set():
                try:
                    said = client.chat.completions.create(
                        model="champion", messages=[{"role": "user", "content": TEXTS[0]}]
                    )
                    answered.append(said.id)
                except openai.APIError as error:
                    if stop.is_set():
                        return
                    failed.append((retries, repr(error), repr(error.__cause__)))

    manager.start()
    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask_on, retries) for retries in (0, 0, 0, 2)]
        try:
            until(lambda: len(answered) > 20)
            manager.process.send_signal(signal.SIGTERM)
            assert manager.process.wait(CEILING_S) == 0
            manager.start()
            before = len(answered)
            until(lambda: len(answered) > before + 20)
            sys.stdout.write(f"restarted: {len(answered)} answered, failed: {failed}\n")
            manager.process.kill()  # and it keeps the sockets of one that was killed
            manager.process.wait(CEILING_S)
            manager.start()
            before = len(answered)
            until(lambda: len(answered) > before + 20)
        finally:
            stop.set()
            manager.process.kill()
            manager.process.wait(CEILING_S)
            manager.close()  # nobody waits on for a next process
            manager.socket.close()
            for each in asking:
                each.result()
    sys.stdout.write(f"killed: {len(answered)} answered, failed: {failed}\n")
    assert [each for each in failed if each[0]] == []
    assert len(failed) <= 2 * 3  # of each that does not try again, one a restart


@pytest.mark.slow
def test_a_champion_that_is_not_what_it_was_is_not_served(folder, adapter):
    heads = folder / "var" / "adapters" / adapter.name / "heads.safetensors"
    heads.write_bytes(heads.read_bytes()[:-1] + b"\x01")
    with serving(folder, ready=False) as (process, _, _):
        assert process.wait(CEILING_S) == 1
        said = process.stderr.read()
    assert f"adapter {adapter.name}" in said
