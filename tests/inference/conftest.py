"""The daemon's own interface behind a Unix socket, with its spool, loader and database."""

import asyncio
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flywheel.api import create_app
from flywheel.config import load, load_intents
from flywheel.executors.local import LocalExecutor
from flywheel.loader import Loader
from flywheel.serving.link import ChampionLink
from flywheel.spool import Spool
from flywheel.store import open_store
from flywheel.turn import Runtime
from flywheel.web.sockets import bind_unix, server
from tests.waiting import CEILING_S

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
INTENTS = '[[intent]]\nname = "set_alarm"\n\n[[intent]]\nname = "play_music"\n'


class ListeningDaemon:
    """The interface of a daemon; `front` may answer in its place, and sees each body."""

    def __init__(self, folder: Path) -> None:
        (folder / "intents.toml").write_text(INTENTS)
        (folder / "config.toml").write_text("[api]\nmax_body_mb = 1\nmax_line_kb = 1\n")
        config = load(folder / "config.toml")
        self.socket = config.socket_path
        self.store = open_store(config.state_dir / "flywheel.duckdb")
        self.loader = Loader(self.store, Spool(config.state_dir / "spool", 1 << 24))
        runtime = Runtime(
            config=config,
            intents=load_intents(folder / "intents.toml"),
            store=self.store,
            executor=LocalExecutor(config.state_dir / "jobs"),
            serving=ChampionLink(config.state_dir / "adapters"),
            teacher=None,
            clock=lambda: NOW,
        )
        self._app = create_app(runtime, loader=self.loader, main_socket=str(self.socket))
        self.front = lambda path, body: None
        self._server, self._thread = None, None

    def start(self) -> None:
        """Listen; returns when it does."""
        if self._thread is not None:
            return
        bound = bind_unix(self.socket)
        listening = threading.Event()

        async def serve():
            self._server = server(self)
            running = asyncio.create_task(self._server.serve(sockets=[bound]))
            await self._server.listening.wait()
            listening.set()
            await running

        self._thread = threading.Thread(target=asyncio.run, args=(serve(),))
        self._thread.start()
        assert listening.wait(CEILING_S)

    def stop(self) -> None:
        """Listen no more; harmless when it does not."""
        if self._thread is not None:
            self._server.should_exit = True
            self._thread.join(CEILING_S)
            self._thread = None
            self.socket.unlink(missing_ok=True)

    def ids(self, table: str = "predictions") -> list[str]:
        """Ids in the table, each as often as it is there."""
        self.loader.drain()
        with self.store.read() as con:
            return [row[0] for row in con.execute(f"SELECT id FROM {table} ORDER BY id").fetchall()]

    def forget(self) -> None:
        """Have no events and no `front`."""
        self.loader.drain()
        self.front = lambda path, body: None
        with self.store.write() as con:
            for table in ("predictions", "feedback", "judged"):
                con.execute(f"DELETE FROM {table}")

    def close(self) -> None:
        self.stop()
        self.loader.stop()
        self.store.close()

    async def __call__(self, scope, receive, send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        answer = self.front(scope["path"], body)
        if answer is not None:
            await answer(scope, receive, send)
            return
        await self._app(scope, lambda: _once(body), send)


async def _once(body):
    return {"type": "http.request", "body": body, "more_body": False}


@pytest.fixture(scope="module")
def one_daemon(tmp_path_factory):
    daemon = ListeningDaemon(tmp_path_factory.mktemp("daemon"))
    yield daemon
    daemon.close()


@pytest.fixture
def daemon(one_daemon):
    """It listens, and knows of nothing."""
    one_daemon.forget()
    one_daemon.start()
    return one_daemon
