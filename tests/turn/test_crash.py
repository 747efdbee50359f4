"""A crash before, in, or after any step repeats that step and nothing else."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from aftermath import files_of, state_of
from wheels import Parrot, produce_failures, seed_the_wheel, turn_once, wheel_in

from flywheel.turn import request, run_until_idle, table

STEPS = list(table.STEPS)
MOMENTS = ["before", "in", "while committing", "after"]


class Crash(BaseException):
    """The process ends here, as `kill -9` would end it."""


def started(folder: Path) -> tuple:
    teacher = Parrot()
    wheel = wheel_in(folder, teacher=teacher)
    seed_the_wheel(wheel)
    turn_once(wheel)
    produce_failures(wheel)
    return wheel, teacher


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_any_moment_of_any_step_changes_nothing_in_the_end(
    tmp_path, monkeypatch, step, moment
):
    (tmp_path / "calm").mkdir()
    (tmp_path / "storm").mkdir()
    calm, calm_teacher = started(tmp_path / "calm")
    turn_once(calm)
    wheel, teacher = started(tmp_path / "storm")
    request(wheel, "manual")
    with monkeypatch.context() as patch:
        plant_crash(patch, step, moment)
        with pytest.raises(Crash):
            run_until_idle(wheel)
    wheel.store.close()
    again = wheel_in(tmp_path / "storm", teacher=teacher)
    run_until_idle(again)
    try:
        assert state_of(again) == state_of(calm)
        assert teacher.bought == calm_teacher.bought
        assert files_of(tmp_path / "storm") == files_of(tmp_path / "calm")
        assert again.serving.serving() == calm.serving.serving()
    finally:
        again.store.close()
        calm.store.close()


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
