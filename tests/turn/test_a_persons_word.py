"""What a person decided stands, at whatever moment of a turn it comes, and the trail is true.

Every word (rollback, reject, approve, cancel, reload, restore) at every boundary between steps and
inside of every step, also when the process is killed right after it was acknowledged.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from runtimes import NOW, runtime_in, turn_once
from waiting_promotion import REVIEW

from flywheel import turn as turning
from flywheel.config import PromotionTable
from flywheel.errors import Refused
from flywheel.store import adapters, decisions, restoring, turns
from flywheel.turn import Runtime, integrity, table
from tests.fakes import json_views as views

STEPS = list(table.STEPS)
TURN = "t-4"  # the one that a person speaks into
BEFORE, INSIDE = "before", "inside"
AUTO = PromotionTable(mode="auto", bootstrap="auto")


class Crash(BaseException):
    """The process ends here, as `kill -9` would end it."""


@pytest.fixture(scope="module")
def boundaries(story, tmp_path_factory) -> Callable[[str], Path]:
    """Copies of the story with a fourth turn opened, about to run the step named."""
    made: dict[str, Path] = {}
    walked = tmp_path_factory.mktemp("walked")
    shutil.copytree(story.folder, walked, symlinks=True, dirs_exist_ok=True)
    runtime = open_runtime(walked)
    opened = turning.request(runtime, "manual")
    assert opened.id == TURN
    for step in STEPS:
        assert state_of(runtime) == step
        runtime.store.close()
        made[step] = tmp_path_factory.mktemp(f"before-{step}")
        shutil.copytree(walked, made[step], symlinks=True, dirs_exist_ok=True)
        runtime = open_runtime(walked)
        turning.advance(runtime, TURN)
    runtime.store.close()
    return made.__getitem__


def open_runtime(folder: Path, promotion: PromotionTable = AUTO) -> Runtime:
    """A daemon's start: the loop, serving what the database says."""
    runtime = runtime_in(folder, promotion=promotion)
    turning.reconcile(runtime)
    return runtime


def state_of(runtime: Runtime) -> str:
    with runtime.store.read() as con:
        return turns.get(con, TURN).state


def pending(runtime: Runtime) -> str:
    """The decision that waits."""
    with runtime.store.read() as con:
        (waiting,) = decisions.list_decisions(con, status="pending")
    return waiting.id


def roll_back(runtime: Runtime) -> None:
    turning.rollback(runtime, None, "alice", "complaints")


def reject(runtime: Runtime) -> None:
    turning.reject(runtime, pending(runtime), "alice", "not this one")


def approve(runtime: Runtime) -> None:
    turning.approve(runtime, pending(runtime), "alice", "looks right")


def cancel(runtime: Runtime) -> None:
    turning.cancel(runtime, TURN, "alice")


def reload(runtime: Runtime) -> None:
    with runtime.store.write():
        runtime.config = dataclasses.replace(runtime.config, promotion=REVIEW)


@dataclass
class Spoken:
    """What followed: who was champion when the word was given, and how all ended."""

    at_word: str | None
    runtime: Runtime
    acknowledged: bool


@pytest.fixture
def speak(boundaries, tmp_path, monkeypatch) -> Iterator[Callable[..., Spoken]]:
    """Give a word at a moment of a step, crash there if asked to, and let all come to its end."""
    opened: list[Runtime] = []

    def given(word: Callable[[Runtime], None], step: str, moment: str, *, crash: bool) -> Spoken:
        shutil.copytree(boundaries(step), tmp_path, symlinks=True, dirs_exist_ok=True)
        runtime = open_runtime(tmp_path)
        opened.append(runtime)
        told: list[str | None] = []
        acknowledged = [True]

        def say() -> None:
            with runtime.store.read() as con:
                told.append(adapters.champion(con))
            try:
                word(runtime)
            except Refused:
                acknowledged[0] = False
            if crash:
                raise Crash

        honest = table.STEPS[step]

        def interrupted(runtime, turn):
            result = honest(runtime, turn)
            if not told:
                say()
            return result

        with contextlib.suppress(Crash):
            if moment == BEFORE:
                say()
            else:
                monkeypatch.setitem(table.STEPS, step, interrupted)
            turning.run_until_idle(runtime)
        if crash:
            runtime.store.close()
            runtime = open_runtime(tmp_path, runtime.config.promotion)
            opened.append(runtime)
            turning.run_until_idle(runtime)
        return Spoken(told[0], runtime, acknowledged[0])

    yield given
    for runtime in opened:
        with contextlib.suppress(Exception):
            runtime.store.close()


def ends(runtime: Runtime) -> tuple[str | None, str | None]:
    """Champion in the database, and in service."""
    with runtime.store.read() as con:
        return adapters.champion(con), runtime.serving.serving()


def trail_is_true(runtime: Runtime) -> None:
    """No decision names a champion that it was not made against, or an actor who said nothing."""
    with runtime.store.read() as con:
        assert turns.open_turns(con) == []
        history = con.execute("SELECT adapter, decision FROM champions ORDER BY number").fetchall()
        served: list[str | None] = [None]
        for adapter, name in history:
            made = decisions.get(con, name)
            assert made.champion == served[-1]
            assert made.challenger == adapter
            assert made.status == "applied"
            served.append(adapter)
        for decision in decisions.list_decisions(con):
            first, *later = decisions.events(con, decision.id)
            if decision.verdict != "rollback":
                assert first["by"] in ("gates", "bootstrap")
            for event in later:
                assert event["by"] != "alice" or event["because"]


def moments(steps: list[str] = STEPS) -> pytest.MarkDecorator:
    """Every step, before and inside of it, without and with a crash; a few of them by default."""
    quick = {("train", INSIDE, False), ("apply", BEFORE, True), ("watch", INSIDE, True)}
    cases = []
    for step in steps:
        for moment in (BEFORE, INSIDE):
            for crash in (False, True):
                marks = () if (step, moment, crash) in quick else pytest.mark.slow
                name = f"{moment}-{step}{'-crash' if crash else ''}"
                cases.append(pytest.param(step, moment, crash, marks=marks, id=name))
    return pytest.mark.parametrize(("step", "moment", "crash"), cases)


@moments()
def test_a_rollback_stands(story, speak, step, moment, crash):
    after = speak(roll_back, step, moment, crash=crash)
    wanted = {story.champion: story.first, story.better: story.champion}[after.at_word]
    assert ends(after.runtime) == (wanted, wanted)
    trail_is_true(after.runtime)
    view = views.turn_view(after.runtime, TURN)
    assert view["state"] == "cancelled"
    assert view["error"].startswith("superseded by d-")
    assert view["error"].endswith(" (alice)")
    with after.runtime.store.read() as con:
        assert decisions.list_decisions(con, status="pending") == []


@moments(STEPS[:-1])  # once it is applied, nothing waits
def test_a_rejected_adapter_is_not_promoted_by_the_gates(story, speak, step, moment, crash):
    after = speak(reject, step, moment, crash=crash)
    assert after.acknowledged
    assert ends(after.runtime) == (story.champion, story.champion)
    trail_is_true(after.runtime)
    with after.runtime.store.read() as con:
        said = [d for d in decisions.list_decisions(con) if d.by == "alice"]
        waiting = decisions.list_decisions(con, status="pending")
    assert [(d.status, d.because) for d in said] == [("rejected", "not this one")]
    # a later turn that comes to the same adapter asks the person who rejected it
    assert all("alice rejected" in d.because for d in waiting)


@moments(STEPS[:-1])
def test_an_approval_stands_and_names_who_gave_it(story, speak, step, moment, crash):
    after = speak(approve, step, moment, crash=crash)
    assert ends(after.runtime) == (story.better, story.better)
    trail_is_true(after.runtime)
    with after.runtime.store.read() as con:
        latest = adapters.get(con, story.better)
        applied = decisions.list_decisions(con, status="applied", limit=1)[0]
    assert (latest.state, applied.by, applied.because) == ("champion", "alice", "looks right")


@moments()
def test_a_cancelled_turn_promotes_nothing(story, speak, step, moment, crash):
    after = speak(cancel, step, moment, crash=crash)
    assert ends(after.runtime) == (after.at_word, after.at_word)
    trail_is_true(after.runtime)
    view = views.turn_view(after.runtime, TURN)
    assert (view["state"], view["error"].split(";")[0]) == ("cancelled", "cancelled by alice")
    assert all(each["state"] != "running" for each in view["steps"])
    if after.at_word == story.better:
        assert "adapters rollback" in view["error"]
    with after.runtime.store.read() as con:
        assert all(d.turn != TURN for d in decisions.list_decisions(con, status="pending"))


@moments()
def test_who_asks_to_be_asked_is_asked(story, speak, step, moment, crash):
    after = speak(reload, step, moment, crash=crash)
    assert ends(after.runtime) == (after.at_word, after.at_word)
    trail_is_true(after.runtime)
    if after.at_word == story.champion:
        assert pending(after.runtime) == "d-4"
        assert views.turn_view(after.runtime, TURN)["state"] == "held"
        turning.approve(after.runtime, "d-4", "alice", "asked at last")
        assert ends(after.runtime) == (story.better, story.better)


@pytest.mark.parametrize(
    "step",
    [each if each == "apply" else pytest.param(each, marks=pytest.mark.slow) for each in STEPS],
)
def test_a_restored_database_serves_what_it_named_and_resumes_nothing(
    story, boundaries, tmp_path, step
):
    """A backup made at any boundary; the promotion came after it."""
    shutil.copytree(boundaries(step), tmp_path, symlinks=True, dirs_exist_ok=True)
    runtime = open_runtime(tmp_path)
    database = runtime.store.path
    backup = tmp_path / "backup"
    runtime.store.copy_to(backup)
    turning.run_until_idle(runtime)
    assert ends(runtime) == (story.better, story.better)
    runtime.store.close()
    shutil.copy(backup, restoring.arriving(database))
    integrity.examine(restoring.arriving(database), tmp_path / "var", NOW)
    with restoring.held(database) as lock:
        restoring.stage(database, NOW, integrity.OF_ITS_TURNS)
        restoring.put_in_place(database, lock, lambda _: None, integrity.OF_ITS_TURNS)
    runtime = open_runtime(tmp_path)
    turning.run_until_idle(runtime)
    with contextlib.closing(runtime.store):
        wanted = story.better if step == "watch" else story.champion
        assert ends(runtime) == (wanted, wanted)
        trail_is_true(runtime)
        assert state_of(runtime) == "cancelled"
        with runtime.store.read() as con:
            assert all(d.turn != TURN for d in decisions.list_decisions(con, status="pending"))


def test_an_adapter_that_a_person_rolled_back_is_not_promoted_again_by_the_gates(story, tmp_path):
    shutil.copytree(story.folder, tmp_path, symlinks=True, dirs_exist_ok=True)
    runtime = open_runtime(tmp_path)
    with contextlib.closing(runtime.store):
        turning.approve(runtime, "d-3", "bob", "fine")
        turning.rollback(runtime, None, "alice", "it is not")
        turn_once(runtime)  # trains the very same adapter from the same samples
        assert ends(runtime) == (story.champion, story.champion)
        with runtime.store.read() as con:
            waiting = decisions.get(con, pending(runtime))
        assert waiting.challenger == story.better
        assert f"a person decides: alice rolled {story.better} back" in waiting.because
        turning.approve(runtime, waiting.id, "alice", "after all")
        assert ends(runtime) == (story.better, story.better)


def test_said_twice_is_told_and_no_reason_is_dropped_silently(story, tmp_path):
    shutil.copytree(story.folder, tmp_path, symlinks=True, dirs_exist_ok=True)
    runtime = open_runtime(tmp_path)
    with contextlib.closing(runtime.store):
        turning.approve(runtime, "d-3", "bob", "fine")
        again = "d-3 is applied already, by bob: fine; nothing was changed, and your reason was not"
        for word in (turning.approve, turning.reject):
            with pytest.raises(Refused, match=again):
                word(runtime, "d-3", "alice", "my own reason")


def test_what_a_rollback_superseded_says_so(story, tmp_path):
    shutil.copytree(story.folder, tmp_path, symlinks=True, dirs_exist_ok=True)
    runtime = open_runtime(tmp_path)
    with contextlib.closing(runtime.store):
        turning.rollback(runtime, None, "alice", "complaints")
        with pytest.raises(Refused, match="d-3 is superseded by d-4; nothing was changed"):
            turning.approve(runtime, "d-3", "bob", "fine")
        assert views.turn_view(runtime, "t-3")["state"] == "done"


def test_the_same_person_does_not_approve_twice(story, tmp_path):
    shutil.copytree(story.folder, tmp_path, symlinks=True, dirs_exist_ok=True)
    two = dataclasses.replace(REVIEW, approvals=2)
    runtime = open_runtime(tmp_path, two)
    with contextlib.closing(runtime.store):
        turning.approve(runtime, "d-3", "bob", "fine")
        with pytest.raises(Refused, match=r"bob has approved d-3 already \(1 of 2\)"):
            turning.approve(runtime, "d-3", "bob", "still fine")
        assert ends(runtime) == (story.champion, story.champion)


def test_a_decision_that_expired_while_the_daemon_was_down_is_not_applied(
    story, boundaries, tmp_path
):
    shutil.copytree(boundaries("apply"), tmp_path, symlinks=True, dirs_exist_ok=True)
    runtime = open_runtime(tmp_path, dataclasses.replace(AUTO, hold_days=-1))
    with contextlib.closing(runtime.store):
        assert turning.expire(runtime) == ["d-4"]
        turning.run_until_idle(runtime)
        assert ends(runtime) == (story.champion, story.champion)
        trail_is_true(runtime)


def test_two_threads_never_leave_an_earlier_champion_in_service(story, tmp_path):
    """The one that read the database before a rollback must not move the link after it."""
    shutil.copytree(story.folder, tmp_path, symlinks=True, dirs_exist_ok=True)
    runtime = open_runtime(tmp_path)
    with contextlib.closing(runtime.store):
        turning.approve(runtime, "d-3", "bob", "fine")
        honest, spoke = runtime.serving.promote, []

        class Slow:
            """Serving that is asked for the earlier champion while it puts the new one in place."""

            immediate = True

            def serving(self):
                return None

            def retire(self):
                raise AssertionError

            def promote(self, adapter_id):
                if not spoke:
                    import threading

                    spoke.append(
                        threading.Thread(
                            target=turning.rollback, args=(runtime, None, "alice", "complaints")
                        )
                    )
                    spoke[0].start()
                    committed = threading.Event()
                    while not committed.is_set():  # the rollback is committed, the link not moved
                        with runtime.store.read() as con:
                            if adapters.champion(con) == story.champion:
                                committed.set()
                honest(adapter_id)

        link, runtime.serving = runtime.serving, Slow()
        turning.reconcile(runtime)
        spoke[0].join()
        assert link.serving() == story.champion
