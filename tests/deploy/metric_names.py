"""Names of the samples on the `/metrics` pages of the daemon and of the server."""

from datetime import UTC, datetime

from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from flywheel.api import create_app
from flywheel.config import load
from flywheel.executors.local import LocalExecutor
from flywheel.inference.answer_log import AnswerLog
from flywheel.inference.interface import create_serve_app
from flywheel.inference.loaded import LoadedAdapters
from flywheel.inference.process import limits_of, router_loader
from flywheel.inference.recording import Recorder
from flywheel.inference.service import AnswerService
from flywheel.serving.link import ChampionLink
from flywheel.store import open_store
from flywheel.turn import Runtime
from flywheel.web.guard import bearer

_TOKEN = "t" * 32


def of_the_daemon(folder):
    """Every name on the page of a daemon that was asked once; labelled counters of none, too."""
    (folder / "config.toml").write_text("", encoding="utf-8")
    config = load(folder / "config.toml")
    store = open_store(config.state_dir / "flywheel.duckdb")
    runtime = Runtime(
        config=config,
        intents=(),
        store=store,
        executor=LocalExecutor(config.state_dir / "jobs"),
        serving=ChampionLink(config.state_dir / "adapters"),
        teacher=None,
        clock=lambda: datetime(2026, 11, 22, tzinfo=UTC),
    )
    try:
        asked = TestClient(create_app(runtime, tokens=[bearer(_TOKEN)]), "http://127.0.0.1")
        return names(asked.get("/metrics", headers={"authorization": f"Bearer {_TOKEN}"}).text)
    finally:
        store.close()


def of_the_server(folder):
    """Every name on the page of a server that was never asked."""
    (folder / "config.toml").write_text("", encoding="utf-8")
    config = load(folder / "config.toml")
    answer_log = AnswerLog(folder / "answers", 1 << 20)
    adapters = LoadedAdapters(folder / "adapters", router_loader(config))
    try:
        service = AnswerService(adapters, limits_of(config), Recorder(answer_log))
        asked = TestClient(create_serve_app(service, tokens=[bearer(_TOKEN)]), "http://127.0.0.1")
        return names(asked.get("/metrics", headers={"authorization": f"Bearer {_TOKEN}"}).text)
    finally:
        answer_log.close()


def names(page):
    """Of families and of samples: a counter that counted nothing yet has a family alone."""
    found = set()
    for family in text_string_to_metric_families(page):
        found |= {family.name} | {sample.name for sample in family.samples}
        found |= {f"{family.name}_total"} if family.type == "counter" else set()
        found |= {f"{family.name}_bucket"} if family.type == "histogram" else set()
    return found
