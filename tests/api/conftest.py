from datetime import UTC, datetime

import pytest
from socket_caller import through_socket
from starlette.testclient import TestClient

from flywheel.api import ProcessStatus, create_app
from flywheel.config import load, load_intents
from flywheel.executors.local import LocalExecutor
from flywheel.serving.link import ChampionLink
from flywheel.store import open_store
from flywheel.turn import Runtime

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
INTENTS = """
[[intent]]
name = "set_alarm"
description = "Wake the user at a time"

[[intent]]
name = "play_music"
description = "播放音乐"
"""


@pytest.fixture
def runtime(tmp_path):
    (tmp_path / "intents.toml").write_text(INTENTS, encoding="utf-8")
    (tmp_path / "config.toml").write_text("[api]\nmax_body_mb = 1\nmax_line_kb = 1\n")
    config = load(tmp_path / "config.toml")
    store = open_store(config.state_dir / "flywheel.duckdb")
    yield Runtime(
        config=config,
        intents=load_intents(tmp_path / "intents.toml"),
        store=store,
        executor=LocalExecutor(config.state_dir / "jobs"),
        serving=ChampionLink(config.state_dir / "adapters"),
        teacher=None,
        clock=lambda: NOW,
    )
    store.close()


@pytest.fixture
def process_status():
    return ProcessStatus()


@pytest.fixture
def client(runtime, process_status):
    app = create_app(runtime, process_status=process_status)
    return TestClient(through_socket(app), raise_server_exceptions=False)


@pytest.fixture
def over_tcp(runtime):
    app = create_app(runtime, token="s3cret", hosts=frozenset({"runtime.example.org"}))
    return TestClient(app, base_url="http://127.0.0.1:8765", raise_server_exceptions=False)
