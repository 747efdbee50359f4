"""`kill -9` while a worker trains: the turn ends in the same tables as an undisturbed one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from daemon_under_test import CONFIG, Daemon, starter_rows

from flywheel.demo.grammar import STARTER
from flywheel.demo.production import stream
from tests.waiting import until

TRAINING = "t-2-train"
SETTLED = ("done", "held")  # whether the challenger is promoted is for the gates to say


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> Path:
    """A folder with a first champion and a day of corrected traffic; its daemon is stopped."""
    folder = tmp_path_factory.mktemp("begun")
    (folder / "config.toml").write_text(CONFIG)
    shutil.copy(STARTER / "intents.toml", folder)
    with Daemon(folder) as daemon:
        begin(daemon)
    return folder


def begin(daemon: Daemon) -> None:
    daemon.start()
    for split in ("seed", "dev", "golden"):
        daemon.client.post("/v1/samples", starter_rows(split))
    assert daemon.turn()["state"] == "done"
    said = stream(160, seed=11)
    day = "2026-11-22T05:17:00Z"
    daemon.client.post(
        "/v1/predictions",
        [{"id": f"p-{n}", "ts": day, "text": s.text, "intent": "none"} for n, s in enumerate(said)],
    )
    daemon.client.post(
        "/v1/feedback",
        [
            {"id": f"f-{n}", "prediction_id": f"p-{n}", "ts": day, "rater": f"u-{n % 9}"}
            | ({"verdict": "correct"} if s.intent == "none" else {})
            | ({"verdict": "corrected", "intent": s.intent} if s.intent != "none" else {})
            for n, s in enumerate(said)
        ],
    )
    daemon.stop()


@pytest.fixture(scope="module")
def undisturbed(begun, tmp_path_factory) -> dict[str, Any]:
    """What the second turn leaves behind when nothing happens to it."""
    with copy_of(begun, tmp_path_factory.mktemp("calm")) as daemon:
        daemon.start()
        assert daemon.turn()["state"] in SETTLED
        return what_is_left(daemon)


@pytest.mark.slow  # two real trainings; the same with a small worker is in test_killed
@pytest.mark.parametrize(
    "with_the_worker", [pytest.param(True, id="worker too"), pytest.param(False, id="daemon alone")]
)
def test_a_daemon_killed_in_training_ends_where_an_undisturbed_one_does(
    begun, undisturbed, tmp_path, with_the_worker
):
    with copy_of(begun, tmp_path / "storm") as daemon:
        daemon.start()
        daemon.client.post("/v1/turns", {})
        until((daemon.job(TRAINING) / "progress.jsonl").exists, "training has begun")
        daemon.kill()
        assert not (daemon.job(TRAINING) / "result.json").exists()
        if with_the_worker:
            daemon.kill_worker(TRAINING)
        daemon.start()
        assert daemon.ended("t-2")["state"] in SETTLED
        assert what_is_left(daemon) == undisturbed


def copy_of(folder: Path, place: Path) -> Daemon:
    shutil.copytree(folder, place, symlinks=True, dirs_exist_ok=True)
    return Daemon(place)


def what_is_left(daemon: Daemon) -> dict[str, Any]:
    """All that a turn writes, less what clocks and stopwatches say."""
    get = daemon.client.get
    turn = get("/v1/turns/t-2")
    steps = [(s["name"], s["state"], without_seconds(s["detail"])) for s in turn["steps"]]
    decisions = [get(f"/v1/decisions/{d['id']}") for d in get("/v1/decisions")]
    for decision in decisions:
        del decision["at"], decision["events"]
    adapters = get("/v1/adapters")
    for adapter in adapters:
        del adapter["created_at"]
    champion = (daemon.folder / "var" / "adapters" / "champion").resolve().name
    return {
        "steps": steps,
        "decisions": decisions,
        "adapters": adapters,
        "champion": champion,
        "datasets": sorted(path.name for path in (daemon.folder / "var/datasets").iterdir()),
        "intents": get("/v1/intents"),
    }


def without_seconds(detail: str) -> str:
    return " ".join(word for word in detail.split() if not word.isdigit())
