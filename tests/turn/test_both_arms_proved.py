"""While a promotion is watched, the server is asked for the evaluated answers of both arms."""

from __future__ import annotations

import contextlib
import shutil

import pytest
from runtimes import runtime_in
from waiting_promotion import REVIEW

from flywheel import turn as turning
from flywheel.config import ServingTable, WatchTable
from flywheel.serving.arms_file import planned
from flywheel.store import adapters
from tests.fakes.inference_server import InferenceServer, answer_by_words


@pytest.fixture
def folder(story, tmp_path):
    shutil.copytree(story.folder, tmp_path / "folder", symlinks=True)
    return tmp_path / "folder"


@pytest.fixture
def server(folder):
    with InferenceServer(folder / "var") as running:
        yield running


@pytest.fixture
def runtime(folder):
    built = runtime_in(
        folder,
        promotion=REVIEW,
        watch=WatchTable(mode="report"),
        serving=ServingTable(kind="local", parity_texts=12),
    )
    with contextlib.closing(built.store):
        yield built


def test_both_arms_are_asked_and_what_differs_is_told(story, runtime, server):
    turning.approve(runtime, "d-3", "ada (uid 7)", "looks right")
    assert planned(runtime.config.state_dir) is None  # it is not proved yet
    turning.reconcile(runtime)
    with runtime.store.read() as con:
        assert adapters.champion(con) == story.better
    assert planned(runtime.config.state_dir).earlier == story.champion
    assert {name for name, _ in server.asked} == {story.better, story.champion}
    assert runtime.rollout.earlier.problem == ""

    def doubtful(folder, text):
        honest = answer_by_words(folder, text)
        return honest | {"confidence": 0.7} if folder.name == story.champion else honest

    server.answer = doubtful
    runtime.rollout.earlier.asked_at = None
    turning.reconcile(runtime)
    assert f"{story.champion} answers otherwise" in runtime.rollout.earlier.problem
    assert runtime.rollout.problem == ""


def test_once_the_watch_has_ended_only_the_champion_is_asked(story, runtime, server):
    turning.approve(runtime, "d-3", "ada (uid 7)", "looks right")
    turning.reconcile(runtime)
    turning.rollback(runtime, None, "eve (uid 8)", "no")
    turning.reconcile(runtime)
    assert planned(runtime.config.state_dir) is None
    assert server.adapter == story.champion
    assert runtime.rollout.earlier.asked == ("", "")
