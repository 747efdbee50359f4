"""An adapter becomes champion once the server that will answer with it answers as evaluated."""

from __future__ import annotations

import contextlib
import dataclasses
import random
import shutil
from datetime import timedelta

import pytest
from runtimes import (
    ALARM,
    NOW,
    runtime_in,
    sample,
    seed_runtime,
    turn_once,
)
from waiting_promotion import REVIEW

from flywheel import turn as turning
from flywheel.config import PromotionTable, ServingTable
from flywheel.errors import Refused
from flywheel.store import adapters, decisions, parity_checks, turns
from flywheel.store.erasure import Person
from flywheel.turn import add_samples, integrity, rollout
from flywheel.turn.erase import erase
from tests.fakes import json_views as views
from tests.fakes.inference_server import InferenceServer, answer_by_words

AUTO = PromotionTable(mode="auto", bootstrap="auto")
LOCAL = ServingTable(kind="local", parity_texts=12)


class Crash(BaseException):
    """The process ends here, as `kill -9` would end it."""


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
    with opened(folder) as built:
        yield built


@contextlib.contextmanager
def opened(folder, promotion=REVIEW):
    """A daemon's start on this folder, with `flywheel serve` beside it."""
    built = runtime_in(folder, promotion=promotion, serving=LOCAL)
    with contextlib.closing(built.store):
        yield built


def champion(runtime):
    with runtime.store.read() as con:
        return adapters.champion(con)


def decision(runtime, name="d-3"):
    with runtime.store.read() as con:
        return decisions.get(con, name)


def checks(runtime, name="d-3"):
    with runtime.store.read() as con:
        return parity_checks.latest(con, decision=name)


def approve(runtime):
    return turning.approve(runtime, "d-3", "ada (uid 7)", "looks right")


def doubtful(adapter, confidence=0.7):
    """How a server answers that is less sure of this adapter's answers than it was evaluated."""

    def answer(folder, text):
        honest = answer_by_words(folder, text)
        return honest | {"confidence": confidence} if folder.name == adapter else honest

    return answer


def dev_texts(runtime):
    with runtime.store.read() as con:
        return [one.text for one in turning.rollout.evaluated_answers.needed(con)]


def test_an_approval_is_applied_once_the_server_answers_as_evaluated(story, runtime, server):
    assert approve(runtime).status == "applying"
    assert (champion(runtime), server.adapter) == (story.champion, story.champion)
    assert turning.reconcile(runtime) == story.better
    assert (decision(runtime).status, decision(runtime).by) == ("applied", "ada (uid 7)")
    assert (champion(runtime), server.adapter) == (story.better, story.better)
    assert runtime.serving.serving() == story.better
    check = checks(runtime)
    assert (check.passed, check.asked, check.engine) == (True, 12, "words")
    asked_first = [text for name, text in server.asked if name == story.better][:12]
    assert set(asked_first) <= set(dev_texts(runtime))


def test_a_threshold_that_is_off_by_little_is_found_by_the_texts_that_lie_nearest_to_it(
    story, runtime, server
):
    """One dev text of 24 lies that near, and is always among the asked ones."""
    with runtime.store.write() as con:
        nearest = parity_checks.evaluated(con, story.better)
        assert {one.margin for one in nearest.values()} == {0.5}
        name = max(nearest)
        con.execute("UPDATE evaluated_answers SET margin = 2 * margin")
        con.execute("UPDATE evaluated_answers SET margin = 0.01 WHERE sample = ?", [name])
        off = parity_checks.text_of(con, name)

    def answer(folder, text):
        honest = answer_by_words(folder, text)
        return honest | {"intent": "none"} if text == off else honest

    approve(runtime)
    server.answer = answer
    turning.reconcile(runtime)
    assert decision(runtime).because.endswith(f"1 of 12 texts, first {name} (intent)")


def test_all_must_pass_examples_are_asked_beside_the_dev_texts(runtime, server, story):
    rows = [sample(f"wake me {n}", ALARM, "golden", must_pass=True) for n in range(3)]
    add_samples(runtime, rows, by="ana")
    approve(runtime)
    turning.reconcile(runtime)
    asked = [text for name, text in server.asked if name == story.better][:15]
    assert {row.sample.text for row in rows} <= set(asked)
    assert checks(runtime).asked == 15


def test_a_failed_parity_leaves_the_champion_and_tells_the_first_text(story, runtime, server):
    approve(runtime)
    server.answer = doubtful(story.better)
    with runtime.store.write() as con:
        decisions.untold_events(con, "bell")  # from here on
    turning.reconcile(runtime)
    assert (champion(runtime), server.adapter) == (story.champion, story.champion)
    assert runtime.serving.serving() == story.champion
    assert story.better not in server.loaded
    check = checks(runtime)
    first = check.differences[0]
    because = (
        f"{story.better} answers otherwise than evaluated: 12 of 12 texts, "
        f"first {first.sample} (confidence)"
    )
    assert (decision(runtime).status, decision(runtime).by) == ("parity_failed", "parity")
    assert decision(runtime).because == because
    with runtime.store.write() as con:
        told = [event["event"] for event in decisions.untold_events(con, "bell")]
    assert told == ["parity_failed"]
    with runtime.store.read() as con:
        text = parity_checks.text_of(con, first.sample)
        assert text in dev_texts(runtime)
        assert integrity.forged(con) == ""
        written = " ".join(event["because"] for event in decisions.events(con, "d-3"))
    assert text not in written


def test_an_adapter_that_the_server_cannot_load_has_failed(story, runtime, server):
    server.refuses = "its files are half there"
    approve(runtime)
    turning.reconcile(runtime)
    assert decision(runtime).status == "parity_failed"
    assert decision(runtime).because == f"the server could not load {story.better}"
    assert checks(runtime).refused == "its files are half there"
    assert champion(runtime) == story.champion


def test_while_the_server_is_away_the_decision_waits_and_says_so(story, folder, runtime):
    approve(runtime)
    assert turning.reconcile(runtime) == story.champion
    assert decision(runtime).status == "applying"
    assert runtime.rollout.waiting == (
        f"d-3 waits: no server answers: the server on {folder}/var/serve.sock is not there → "
        "start it with `flywheel serve` (or `systemctl start flywheel-serve`); "
        "it is tried again by itself"
    )
    runtime.clock = lambda: NOW + timedelta(days=400)
    assert turning.expire(runtime) == []
    with InferenceServer(folder / "var"):
        turning.reconcile(runtime)
        assert (decision(runtime).status, runtime.rollout.waiting) == ("applied", "")


def test_before_the_first_champion_nothing_waits_for_a_server(tmp_path):
    with opened(tmp_path) as built:
        assert turning.reconcile(built) is None
        assert built.rollout.waiting == ""


def test_a_server_that_goes_away_while_it_is_asked_is_asked_from_the_beginning(
    story, runtime, server
):
    approve(runtime)
    asked = iter(range(100))
    server.before = lambda path: path == "/v1/predict" and next(asked) == 1 and server.stop()
    turning.reconcile(runtime)
    assert (decision(runtime).status, champion(runtime)) == ("applying", story.champion)
    server.before = lambda path: None
    server.start()
    assert server.loaded == [story.champion]
    turning.reconcile(runtime)
    assert (decision(runtime).status, server.adapter) == ("applied", story.better)


def test_a_second_approval_says_that_it_is_being_applied(runtime):
    approve(runtime)
    with pytest.raises(Refused, match=r"d-3 is being applied already, by ada \(uid 7\)"):
        turning.approve(runtime, "d-3", "ben (uid 8)", "me too")


@pytest.mark.parametrize("moment", ["/v1/serving/prepare", "/v1/predict"])
def test_a_rejection_ends_what_is_being_applied_at_whatever_moment(moment, story, runtime, server):
    approve(runtime)

    def refuse(path):
        if path == moment and decision(runtime).status == "applying":
            turning.reject(runtime, "d-3", "ben (uid 8)", "I saw something")

    server.before = refuse
    turning.reconcile(runtime)
    assert (decision(runtime).status, decision(runtime).by) == ("rejected", "ben (uid 8)")
    assert (champion(runtime), server.adapter) == (story.champion, story.champion)
    assert server.loaded == [story.champion]
    with runtime.store.read() as con:
        assert adapters.get(con, story.better).state == "rejected"


def test_a_rejection_between_parity_and_the_commit_stands(story, runtime, server, monkeypatch):
    approve(runtime)
    install = rollout._install

    def reject_first(runtime, standing):
        turning.reject(runtime, "d-3", "ben (uid 8)", "I saw something")
        return install(runtime, standing)

    monkeypatch.setattr(rollout, "_install", reject_first)
    turning.reconcile(runtime)
    assert checks(runtime).passed
    assert (decision(runtime).status, champion(runtime)) == ("rejected", story.champion)


def test_a_rollback_is_proved_too_and_takes_the_place_of_what_is_being_applied(
    story, runtime, server
):
    server.before = lambda path: None
    approve(runtime)
    back = turning.rollback(runtime, None, "ben (uid 8)", "complaints")
    assert back.status == "applying"
    assert decision(runtime).because == f"superseded by {back.id}"
    turning.reconcile(runtime)
    assert (champion(runtime), server.adapter) == (story.first, story.first)
    assert checks(runtime, back.id).passed


def test_a_rollback_that_is_rejected_refuses_no_adapter(story, runtime):
    back = turning.rollback(runtime, None, "ben (uid 8)", "complaints")
    turning.reject(runtime, back.id, "ben (uid 8)", "it was something else")
    with runtime.store.read() as con:
        assert adapters.get(con, story.first).state == "retired"
    assert turning.rollback(runtime, None, "ben (uid 8)", "it was not").status == "applying"


def test_gates_promote_through_parity_and_the_turn_ends(tmp_path):
    runtime = runtime_in(tmp_path, promotion=AUTO, serving=LOCAL)
    with contextlib.closing(runtime.store), InferenceServer(tmp_path / "var") as server:
        (tmp_path / "var" / "adapters").mkdir(exist_ok=True)
        seed_runtime(runtime)
        turn = turn_once(runtime)
        first = decision(runtime, "d-1")
        assert (first.status, server.adapter) == ("applied", first.challenger)
        with runtime.store.read() as con:
            assert turns.get(con, turn).state == "done"
            assert turns.steps(con, turn)[-1].detail == f"{first.challenger} serves"
        assert not [run for run in runtime.executor.runs if "parity" in run]  # kept by the turn


@pytest.mark.slow
def test_gates_do_not_take_back_what_a_person_said(story, runtime):
    approve(runtime)
    runtime.config = dataclasses.replace(runtime.config, promotion=AUTO)
    turn_once(runtime)
    assert decision(runtime).status == "applying"


def test_what_no_longer_may_be_applied_by_gates_waits_for_a_person(story, folder):
    with opened(folder, AUTO) as runtime, InferenceServer(folder / "var"):
        with runtime.store.write() as con:
            decisions.set_status(con, "d-3", "applying", "gates", "all passed", NOW)
        runtime.config = dataclasses.replace(runtime.config, promotion=REVIEW)
        turning.reconcile(runtime)
        assert (decision(runtime).status, champion(runtime)) == ("pending", story.champion)
        assert decision(runtime).because == "a person approves"


def test_with_a_link_what_was_being_applied_is_applied_at_once(story, folder, runtime):
    approve(runtime)
    runtime.store.close()
    linked = runtime_in(folder, promotion=REVIEW)
    with contextlib.closing(linked.store):
        assert turning.reconcile(linked) == story.better
        assert linked.serving.serving() == story.better


# What serves is asked again.


def test_a_champion_that_the_server_does_not_serve_is_proved_before_it_takes_over(
    story, runtime, server
):
    """As after a restore: the database has another champion than the server."""
    server.loaded, server.adapter = [story.first], story.first
    server.answer = lambda folder, text: answer_by_words(folder, text) | {"confidence": 0.1}
    with pytest.raises(turning.NotServed, match=f"{story.first} goes on"):
        turning.reconcile(runtime)
    assert (server.adapter, server.loaded) == (story.first, [story.first])
    assert story.champion in runtime.unserved
    server.answer = answer_by_words
    turning.reconcile(runtime)
    assert (server.adapter, runtime.unserved) == (story.champion, "")


def test_a_difference_in_what_serves_changes_nothing_and_is_told_until_it_is_gone(
    story, runtime, server
):
    turning.reconcile(runtime)
    assert runtime.rollout.problem == ""
    asked = len(server.asked)
    turning.reconcile(runtime)
    assert len(server.asked) == asked  # not again before the hour is over
    server.answer = lambda folder, text: answer_by_words(folder, text) | {"confidence": 0.79}
    for hours in (2, 4):  # told once
        runtime.clock = lambda hours=hours: NOW + timedelta(hours=hours)
        turning.reconcile(runtime)
        assert f"{story.champion} answers otherwise than evaluated: 3 of 3" in (
            runtime.rollout.problem
        )
    assert (champion(runtime), server.adapter) == (story.champion, story.champion)
    server.answer = answer_by_words
    runtime.clock = lambda: NOW + timedelta(hours=6)
    turning.reconcile(runtime)
    assert runtime.rollout.problem == ""
    with runtime.store.read() as con:
        acts = [act["what"] for act in decisions.acts(con)]
    assert acts[:2] == [decisions.PARITY_PASSED, decisions.PARITY_FAILED]
    assert acts.count(decisions.PARITY_FAILED) == 1


def test_a_server_that_began_anew_is_asked_again(story, runtime, server):
    turning.reconcile(runtime)
    server.stop()
    server.answer = lambda folder, text: answer_by_words(folder, text) | {"confidence": 0.79}
    server.start()
    turning.reconcile(runtime)
    assert "answers otherwise" in runtime.rollout.problem


def test_answers_of_an_earlier_version_are_made_once_by_the_worker(story, runtime, server):
    """The story's adapters were evaluated for a link, dev answers are those of before."""
    with runtime.store.write() as con:
        con.execute("DELETE FROM evaluated_answers")
    turning.reconcile(runtime)
    assert runtime.rollout.problem == ""
    runs = [run for run in runtime.executor.runs if run.startswith("parity-")]
    assert len(runs) == 1
    assert not runtime.job_dir(runs[0]).exists()
    with runtime.store.read() as con:
        assert len(parity_checks.evaluated(con, story.champion)) == len(dev_texts(runtime))
    runtime.rollout.asked_at = None
    turning.reconcile(runtime)
    assert [run for run in runtime.executor.runs if run.startswith("parity-")] == runs


def test_with_nothing_to_ask_nothing_is_proved(story, runtime, server):
    with runtime.store.write() as con:
        con.execute("DELETE FROM samples WHERE split = 'dev'")
    approve(runtime)
    turning.reconcile(runtime)
    assert decision(runtime).status == "applying"
    assert "there is no text to ask the server for" in runtime.rollout.waiting
    assert "there is no text to ask the server for" in runtime.rollout.problem


def test_an_erased_text_leaves_no_answer_behind(story, runtime, server):
    approve(runtime)
    server.answer = doubtful(story.better)
    turning.reconcile(runtime)
    first = checks(runtime).differences[0].sample
    with runtime.store.write() as con:
        text = parity_checks.text_of(con, first)
        con.execute(
            'UPDATE samples SET provenance = \'{"prediction": "p-1"}\' WHERE text = ?', [text]
        )
    told = erase(runtime, Person(prediction="p-1"), "ana")
    assert (told["left"], told["removed"]["parity_differences"]) == ({}, 1)
    assert told["removed"]["evaluated_answers"] >= 1
    with runtime.store.read() as con:
        assert parity_checks.text_of(con, first) == ""
    assert first not in {one.sample for one in checks(runtime).differences}


def test_a_restored_backup_goes_on_with_nothing_that_was_being_applied(story, runtime, server):
    """It brings back the champion of its time, as with turns that were open."""
    approve(runtime)
    with runtime.store.write() as con:
        integrity._end_open_turns(con, NOW)
    turning.reconcile(runtime)
    assert (decision(runtime).status, champion(runtime)) == ("expired", story.champion)
    assert decision(runtime).because == "it was being applied when this backup was made"


def test_every_fault_of_a_server_is_found_and_the_honest_one_passes(story, runtime, server):
    """As benchmarks do it with the real server, one fault after another in what is prepared."""
    old = runtime.adapters_dir / story.champion

    def in_the_new(fault):
        return lambda folder, text: (
            fault(folder, text) if folder.name == story.better else answer_by_words(folder, text)
        )

    faults = {
        "stale weights": lambda folder, text: answer_by_words(old, text),
        "bits left out": lambda folder, text: answer_by_words(folder, text) | {"confidence": 0.802},
        "texts cut off": lambda folder, text: answer_by_words(folder, text[:2]),
        "threshold": lambda folder, text: answer_by_words(folder, text) | {"intent": "none"},
        "another name": lambda folder, text: answer_by_words(folder, text) | {"adapter": "a-0"},
        "arguments": lambda folder, text: answer_by_words(folder, text) | {"arguments": {"x": 1}},
        "no answer": lambda folder, text: None,
    }
    for name, fault in faults.items():
        server.answer = in_the_new(fault)
        approve(runtime)
        turning.reconcile(runtime)
        assert (name, decision(runtime).status) == (name, "parity_failed")
        assert (champion(runtime), server.adapter) == (story.champion, story.champion)
    server.answer = answer_by_words
    approve(runtime)
    file = runtime.adapters_dir / story.better / "flywheel.json"
    whole = file.read_text()
    file.write_text(whole[:-9])
    turning.reconcile(runtime)
    assert decision(runtime).status == "applying"
    assert "are not those that were trained" in runtime.rollout.waiting
    assert server.adapter == story.champion
    file.write_text(whole)
    turning.reconcile(runtime)  # a parity that failed was tried again by a person
    assert (decision(runtime).status, champion(runtime)) == ("applied", story.better)


# A crash at any point loses nothing, and crowns nobody who was not proved.

PLACES = (
    (rollout, "_checked"),
    (rollout, "_round"),
    (rollout, "_settle"),
    (rollout, "_install"),
    (rollout, "install"),
    (rollout, "_follow"),
    (rollout, "_serve"),
)


CRASHES = [(dies, *place, after) for dies in ("daemon", "both") for place in PLACES
           for after in (False, True)]  # fmt: skip


def named(crash):
    dies, _, function, after = crash
    return f"{dies} {'after' if after else 'before'} {function}"


@pytest.mark.parametrize("crash", random.Random(5).sample(CRASHES, 1), ids=named)
def test_a_crash_leaves_a_proved_champion(crash, story, folder, server, monkeypatch):
    suffer(crash, story, folder, server, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("crash", CRASHES, ids=named)
def test_a_crash_at_any_point_leaves_a_proved_champion(crash, story, folder, server, monkeypatch):
    suffer(crash, story, folder, server, monkeypatch)


def suffer(crash, story, folder, server, monkeypatch):
    dies, *place, after = crash
    with opened(folder) as runtime:
        approve(runtime)
        honest = getattr(*place)

        def mortal(*arguments, **named):
            if after:
                honest(*arguments, **named)
            raise Crash

        with monkeypatch.context() as patched:
            patched.setattr(*place, mortal)
            with contextlib.suppress(Crash):
                turning.reconcile(runtime)
        assert champion(runtime) == story.champion or checks(runtime).passed
    if dies == "both":
        server.stop()
        server.start()
    with opened(folder) as runtime:
        turning.reconcile(runtime)
        assert (decision(runtime).status, champion(runtime)) == ("applied", story.better)
        assert (server.adapter, runtime.serving.serving()) == (story.better, story.better)
        events = views.decision_view(runtime, "d-3")["events"]
        assert [event["what"] for event in events] == ["promote", "applying", "applied"]
        with runtime.store.read() as con:
            assert integrity.forged(con) == ""


def test_a_first_decision_that_is_on_its_way_is_what_to_look_at_and_no_further_turn(tmp_path):
    def start_a_turn():
        problems = views.status(runtime, uptime_s=0, next_turn=None)["problems"]
        return [each for each in problems if each.startswith("no champion yet")]

    by_hand = dataclasses.replace(REVIEW, bootstrap="review")
    with opened(tmp_path, by_hand) as runtime:
        seed_runtime(runtime)
        assert start_a_turn() == ["no champion yet: `flywheel turn start --wait`"]
        turn_once(runtime)
        assert decision(runtime, "d-1").status == "pending"
        assert start_a_turn() == []
        assert turning.approve(runtime, "d-1", "ada (uid 7)", "good").status == "applying"
        assert start_a_turn() == []
        with InferenceServer(tmp_path / "var") as server:
            server.refuses = "its files are half there"
            turning.reconcile(runtime)
        assert decision(runtime, "d-1").status == "parity_failed"
        assert start_a_turn() == []
