"""The real command line against a real application, intake and store, in one process; no spool.

An empty state folder is copied for each case: migrations run once.
"""

import itertools
import json
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from flywheel.api import ProcessStatus, create_app
from flywheel.cli import ingest as ingest_command
from flywheel.cli import samples as samples_command
from flywheel.cli.app import app
from flywheel.cli.client import DaemonClient, DaemonReply
from flywheel.config import load, load_intents
from flywheel.executors.local import LocalExecutor
from flywheel.serving.link import ChampionLink
from flywheel.store import open_store
from flywheel.turn import Runtime
from flywheel.web.peer import UID

FILES = Path(__file__).parent / "files"
NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)


class _Asked(DaemonClient):
    """A client of the daemon whose requests go to an application in this process."""

    def __init__(self, http):
        super().__init__(Path("/no/socket"))
        self.http = http

    def _exchange(self, method, target, body, content_type):
        headers = {"Content-Type": content_type} if content_type else {}
        answer = self.http.request(method, target, content=body or None, headers=headers)
        kind = answer.headers.get("Content-Type", "").split(";")[0]
        return DaemonReply(status=answer.status_code, body=answer.content, content_type=kind)


@dataclass
class Case:
    """One fresh flywheel with the eight intents of `flywheel init`."""

    runtime: Runtime
    http: TestClient

    def run(self, *arguments):
        """A command; what it printed as JSON, its exit code, and never a traceback."""
        folder = self.runtime.config.state_dir.parent
        env = {"FLYWHEEL_CONFIG": str(folder / "config.toml")}
        result = CliRunner().invoke(app, [*map(str, arguments)], env=env, prog_name="flywheel")
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert "Traceback" not in result.output
        return result

    def ingest(self, name, *options):
        """What `flywheel ingest FILE --wait --json` told, with its exit code."""
        result = self.run("ingest", FILES / name, "--wait", "--json", *options)
        return {**json.loads(result.stdout), "exit": result.exit_code}

    def rows(self, query):
        with self.runtime.store.read() as con:
            return con.execute(query).fetchall()


@pytest.fixture(scope="session")
def empty(tmp_path_factory):
    """A folder as `flywheel init` leaves it, with a store without rows."""
    folder = tmp_path_factory.mktemp("empty")
    assert CliRunner().invoke(app, ["init", str(folder)]).exit_code == 0
    open_store(load(folder / "config.toml").state_dir / "flywheel.duckdb").close()
    return folder


@pytest.fixture
def case(empty, tmp_path, monkeypatch):
    folder = tmp_path / "home"
    shutil.copytree(empty, folder)
    config = load(folder / "config.toml")
    store = open_store(config.state_dir / "flywheel.duckdb")
    ticks = itertools.count()  # a later request comes at a later time
    runtime = Runtime(
        config=config,
        intents=load_intents(folder / "intents.toml"),
        store=store,
        executor=LocalExecutor(config.state_dir / "jobs"),
        serving=ChampionLink(config.state_dir / "adapters"),
        teacher=None,
        clock=lambda: NOW + timedelta(seconds=next(ticks)),
    )
    application = create_app(runtime, process_status=ProcessStatus())

    async def through_socket(scope, receive, send):
        await application({**scope, UID: os.getuid()}, receive, send)

    http = TestClient(through_socket)
    for command in (ingest_command, samples_command):
        monkeypatch.setattr(command, "daemon", lambda _ctx: _Asked(http))
    yield Case(runtime, http)
    store.close()
