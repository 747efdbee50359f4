import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from real_daemon import QUIET, Manager
from state_folder import write_config

from flywheel import turn
from flywheel.config import load, load_intents
from flywheel.datasets import sample_id
from flywheel.executors.local import LocalExecutor
from flywheel.records import Sample
from flywheel.serving.link import ChampionLink
from flywheel.store import open_store
from flywheel.turn import Runtime


@dataclass
class Clock:
    """A clock that stands still until it is told."""

    now: datetime = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make_runtime(tmp_path, clock):
    """Builds runtimes over one database, one after another; each closes the one before."""
    opened = []

    def make(text=""):
        for store in opened:
            store.close()
        config = load(write_config(tmp_path, text))
        store = open_store(config.state_dir / "flywheel.duckdb")
        opened.append(store)
        runtime = Runtime(
            config=config,
            intents=load_intents(tmp_path / "intents.toml"),
            store=store,
            executor=LocalExecutor(config.state_dir / "jobs"),
            serving=ChampionLink(config.state_dir / "adapters"),
            teacher=None,
            clock=clock,
        )
        if len(opened) == 1:  # something to learn from and to judge by, or no turn is opened
            for split in ("train", "golden"):
                text = f"wake me, {split}"
                given = sample_id(text, "set_alarm", None, "person", split)
                turn.add_samples(
                    runtime,
                    [
                        turn.Incoming(
                            sample=Sample(
                                id=given,
                                text=text,
                                intent="set_alarm",
                                origin="person",
                                split=split,
                            )
                        )
                    ],
                    by="ana",
                )
        return runtime

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def manager(tmp_path):
    ear = Manager(tmp_path / "notify")
    yield ear
    ear.receiver.close()


@pytest.fixture
def start(tmp_path, manager):
    """Starts daemons on the test's folder and ends every one of them afterwards."""
    started = []

    def begin(text=QUIET, *arguments, ready=True, **environment):
        path = write_config(tmp_path, text)
        process = subprocess.Popen(
            [sys.executable, "-m", "flywheel", "run", "--config", str(path), *arguments],
            env=os.environ | {"NOTIFY_SOCKET": str(manager.path), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        if ready:
            manager.wait_for("READY=1")
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
