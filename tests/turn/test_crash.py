"""A crash before, in, or after any step repeats that step and nothing else."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from pathlib import Path

import pytest
from crash_state import files_of, state_of
from runtimes import Parrot, produce_failures, runtime_in, seed_runtime, turn_once

from flywheel.turn import Runtime, request, run_until_idle, table

STEPS = list(table.STEPS)
MOMENTS = ["before", "in", "while committing", "after"]


class Crash(BaseException):
    """The process ends here, as `kill -9` would end it."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A folder with a champion and failures, and what the teacher has sold so far."""
    folder = tmp_path_factory.mktemp("prepared")
    teacher = Parrot()
    runtime = runtime_in(folder, teacher=teacher)
    with contextlib.closing(runtime.store):
        seed_runtime(runtime)
        turn_once(runtime)
        assert not teacher.bought  # the copies start with a teacher of their own
        produce_failures(runtime)
    return folder


@pytest.fixture(scope="module")
def calm(prepared, tmp_path_factory) -> dict:
    """What the next turn leaves behind when nothing happens to it."""
    runtime, teacher = copy_of(prepared, tmp_path_factory.mktemp("calm"))
    with contextlib.closing(runtime.store):
        turn_once(runtime)
        return crash_state(runtime, teacher)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_any_moment_of_any_step_changes_nothing_in_the_end(
    prepared, calm, tmp_path, monkeypatch, step, moment
):
    runtime, teacher = copy_of(prepared, tmp_path)
    request(runtime, "manual")
    with monkeypatch.context() as patch:
        plant_crash(patch, step, moment)
        with pytest.raises(Crash):
            run_until_idle(runtime)
    runtime.store.close()
    again = runtime_in(tmp_path, teacher=teacher)
    with contextlib.closing(again.store):
        run_until_idle(again)
        assert crash_state(again, teacher) == calm


def copy_of(folder: Path, place: Path) -> tuple[Runtime, Parrot]:
    shutil.copytree(folder, place, symlinks=True, dirs_exist_ok=True)
    teacher = Parrot()
    return runtime_in(place, teacher=teacher), teacher


def crash_state(runtime: Runtime, teacher: Parrot) -> dict:
    assert teacher.bought
    return {
        "state": state_of(runtime),
        "files": files_of(runtime.config.path.parent),
        "bought": teacher.bought,
        "serving": runtime.serving.serving(),
    }


def plant_crash(patch: pytest.MonkeyPatch, step: str, moment: str) -> None:
    honest = table.STEPS[step]

    def crash_before(runtime, turn):
        raise Crash

    def crash_in(runtime, turn):
        honest(runtime, turn)  # its work is done, nothing of it is committed
        raise Crash

    def crash_committing(runtime, turn):
        result = honest(runtime, turn)

        def writes(con):
            result.writes(con)
            raise Crash

        return dataclasses.replace(result, writes=writes)

    def crash_after(runtime, turn):
        result = honest(runtime, turn)
        finish = table._finish

        def finish_and_crash(runtime, turn, result):
            finish(runtime, turn, result)
            raise Crash

        patch.setattr(table, "_finish", finish_and_crash)
        return result

    planted = {
        "before": crash_before,
        "in": crash_in,
        "while committing": crash_committing,
        "after": crash_after,
    }[moment]
    patch.setitem(table.STEPS, step, planted)
