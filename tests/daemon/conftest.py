from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from state_folder import write_config

from flywheel.config import load, load_intents
from flywheel.executors.local import LocalExecutor
from flywheel.serving.link import ChampionLink
from flywheel.store import open_store
from flywheel.turn import Wheel


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
def make_wheel(tmp_path, clock):
    """Builds wheels over one database, one after another; each closes the one before."""
    opened = []

    def make(text=""):
        for store in opened:
            store.close()
        config = load(write_config(tmp_path, text))
        store = open_store(config.state_dir / "flywheel.duckdb")
        opened.append(store)
        return Wheel(
            config=config,
            intents=load_intents(tmp_path / "intents.toml"),
            store=store,
            executor=LocalExecutor(config.state_dir / "jobs"),
            serving=ChampionLink(config.state_dir / "adapters"),
            teacher=None,
            clock=clock,
        )

    yield make
    for store in opened:
        store.close()
