"""A crash before, in, or after any step repeats that step and nothing else."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from pathlib import Path

import pytest
from aftermath import files_of, state_of
from wheels import Parrot, produce_failures, seed_the_wheel, turn_once, wheel_in

from flywheel.turn import Wheel, request, run_until_idle, table

STEPS = list(table.STEPS)
MOMENTS = ["before", "in", "while committing", "after"]


class Crash(BaseException):
    """The process ends here, as `kill -9` would end it."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A folder with a champion and failures, and what the teacher has sold so far."""
    folder = tmp_path_factory.mktemp("prepared")
    teacher = Parrot()
    wheel = wheel_in(folder, teacher=teacher)
    with contextlib.closing(wheel.store):
        seed_the_wheel(wheel)
        turn_once(wheel)
        assert not teacher.bought  # the copies start with a teacher of their own
        produce_failures(wheel)
    return folder


@pytest.fixture(scope="module")
def calm(prepared, tmp_path_factory) -> dict:
    """What the next turn leaves behind when nothing happens to it."""
    wheel, teacher = copy_of(prepared, tmp_path_factory.mktemp("calm"))
    with contextlib.closing(wheel.store):
        turn_once(wheel)
        return aftermath(wheel, teacher)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_any_moment_of_any_step_changes_nothing_in_the_end(
    prepared, calm, tmp_path, monkeypatch, step, moment
):
    wheel, teacher = copy_of(prepared, tmp_path)
    request(wheel, "manual")
    with monkeypatch.context() as patch:
        plant_crash(patch, step, moment)
        with pytest.raises(Crash):
            run_until_idle(wheel)
    wheel.store.close()
    again = wheel_in(tmp_path, teacher=teacher)
    with contextlib.closing(again.store):
        run_until_idle(again)
        assert aftermath(again, teacher) == calm


def copy_of(folder: Path, place: Path) -> tuple[Wheel, Parrot]:
    shutil.copytree(folder, place, symlinks=True, dirs_exist_ok=True)
    teacher = Parrot()
    return wheel_in(place, teacher=teacher), teacher


def aftermath(wheel: Wheel, teacher: Parrot) -> dict:
    assert teacher.bought
    return {
        "state": state_of(wheel),
        "files": files_of(wheel.config.path.parent),
        "bought": teacher.bought,
        "serving": wheel.serving.serving(),
    }


def plant_crash(patch: pytest.MonkeyPatch, step: str, moment: str) -> None:
    honest = table.STEPS[step]

    def crash_before(wheel, turn):
        raise Crash

    def crash_in(wheel, turn):
        honest(wheel, turn)  # its work is done, nothing of it is committed
        raise Crash

    def crash_committing(wheel, turn):
        result = honest(wheel, turn)

        def writes(con):
            result.writes(con)
            raise Crash

        return dataclasses.replace(result, writes=writes)

    def crash_after(wheel, turn):
        result = honest(wheel, turn)
        finish = table._finish

        def finish_and_crash(wheel, turn, result):
            finish(wheel, turn, result)
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
