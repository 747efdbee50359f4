"""The loop that the turn's tests share; what most of them begin with is made once and copied."""

import contextlib
import shutil

import pytest
from runtimes import Parrot, produce_failures, runtime_in, seed_runtime, turn_once
from waiting_promotion import Story, story_in


@pytest.fixture
def runtime(tmp_path):
    built = runtime_in(tmp_path, teacher=Parrot())
    yield built
    built.store.close()


@pytest.fixture(scope="session")
def after_a_turn(tmp_path_factory):
    """Gives a folder a first champion, and failures that the next turn learns from.

    By how many golden rows an intent has.
    """
    made = {}

    def give(folder, golden=40):
        if golden not in made:
            made[golden] = tmp_path_factory.mktemp("champion")
            runtime = runtime_in(made[golden], teacher=Parrot())
            with contextlib.closing(runtime.store):
                seed_runtime(runtime, golden=golden)
                turn_once(runtime)
                produce_failures(runtime)
        shutil.copytree(made[golden], folder, symlinks=True, dirs_exist_ok=True)
        return folder

    return give


@pytest.fixture
def learned(after_a_turn, tmp_path):
    """A loop with a first champion, and failures that the next turn learns from."""
    built = runtime_in(after_a_turn(tmp_path), teacher=Parrot())
    yield built
    built.store.close()


@pytest.fixture(scope="session")
def story(tmp_path_factory) -> Story:
    """A folder to be copied: two promotions by link, and a third that waits for a person as d-3."""
    return story_in(tmp_path_factory.mktemp("story"))
