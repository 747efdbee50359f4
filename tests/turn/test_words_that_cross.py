"""A person's word, another's, and what the loop does by itself meanwhile: none is lost."""

from __future__ import annotations

import dataclasses
import shutil
from datetime import timedelta

import pytest
from memoriser import Memoriser
from runtimes import (
    NOW,
    WORDS,
    Parrot,
    runtime_in,
    sample,
    seed_runtime,
    turn_once,
)

from flywheel import gates
from flywheel import turn as turning
from flywheel.config import GatesTable, IntentsRule, OverallRule, PromotionTable
from flywheel.config.tables import CustomRule
from flywheel.daemon.turn_thread import TurnThread
from flywheel.errors import FlywheelError, Refused
from flywheel.store import adapters, decisions, turns
from flywheel.turn import Incoming, Runtime, add_samples
from tests.fakes import json_views as views

AUTO = PromotionTable(mode="auto", bootstrap="auto")
REFUSES = """
from flywheel.records import GateResult

def judge(evidence, options):
    return GateResult(gate="words", verdict="FAIL", n=1, detail="never")
"""


@pytest.fixture
def make(after_a_turn, tmp_path):
    """The loop after its first turn, by how many golden rows an intent has, and these rules."""
    made = []

    def build(golden: int = 0, **promotion) -> Runtime:
        if golden:
            after_a_turn(tmp_path, golden)
        rules = dataclasses.replace(AUTO, **promotion)
        made.append(runtime_in(tmp_path, teacher=Parrot(), promotion=rules))
        return made[-1]

    yield build
    for runtime in made:
        runtime.store.close()


def with_a_gate_that_refuses(runtime: Runtime) -> Runtime:
    """As a reload does it: the gates and their plug-in at once."""
    folder = runtime.config.root / "plugins"
    folder.mkdir(exist_ok=True)
    (folder / "refuses.py").write_text(REFUSES)
    rules = GatesTable(
        overall=OverallRule(profile="fast"),
        intents=IntentsRule(margin=0.30),
        custom={"words": CustomRule(plugin="refuses")},
    )
    runtime.config = dataclasses.replace(runtime.config, gates=rules)
    runtime.custom_gates = gates.custom_gates(rules, folder)
    return runtime


def label(runtime: Runtime, turn_id: str, text: str = "") -> None:
    """One of the labels that the held turn waits for."""
    intent = next(iter(views.turn_view(runtime, turn_id)["labels_wanted"]))
    add_samples(runtime, [sample(f"{WORDS[intent][0]} asked {text}", intent, "golden")], by="ana")


def state(runtime: Runtime, turn_id: str) -> str:
    return str(views.turn_view(runtime, turn_id)["state"])


def status(runtime: Runtime, name: str) -> str:
    with runtime.store.read() as con:
        return decisions.get(con, name).status


# Two people


def test_two_people_may_lift_what_the_gates_rejected(make):
    two = {"approvals": 2, "allow_override": ("words",)}
    runtime = with_a_gate_that_refuses(make(mode="review", **two, golden=40))
    turn_once(runtime)
    assert status(runtime, "d-2") == "rejected"
    first = turning.approve(runtime, "d-2", "bob", "checked by hand", ["words"])
    assert (first.status, first.by) == ("pending", "bob")
    turn_once(runtime)  # the very same adapter: bob, who approved it, did not reject it
    with runtime.store.read() as con:
        said = [decisions.get(con, name).because for name in ("d-2", "d-3")]
    assert not any("bob rejected" in because for because in said)
    with pytest.raises(Refused, match="words did not pass"):
        turning.approve(runtime, "d-2", "carol", "checked too")
    done = turning.approve(runtime, "d-2", "carol", "checked too", ["words"])
    assert (done.status, runtime.serving.serving()) == ("applied", done.challenger)


def test_an_approval_that_lifts_an_old_rejection_waits_its_time_for_the_second(make):
    two = {"approvals": 2, "allow_override": ("words",)}
    runtime = with_a_gate_that_refuses(make(mode="review", **two, golden=40))
    turn_once(runtime)
    runtime.clock = lambda: NOW + timedelta(days=30)
    turning.approve(runtime, "d-2", "bob", "checked by hand", ["words"])
    runtime.clock = lambda: NOW + timedelta(days=43)
    assert turning.expire(runtime) == []
    runtime.clock = lambda: NOW + timedelta(days=45)
    assert turning.expire(runtime) == ["d-2"]


# A turn that is judged again beside another


def test_a_turn_that_a_person_started_goes_on_when_another_is_held_again(make):
    runtime = make(golden=4)
    held = turn_once(runtime)
    started = turning.request(runtime, "asked by alice").id
    label(runtime, held)
    while state(runtime, held) != "held" or status(runtime, "d-2") == "pending":
        turning.advance(runtime, held)
    assert status(runtime, "d-3") == "pending"
    assert (state(runtime, held), state(runtime, started)) == ("held", "diagnose")


def test_what_the_gates_reject_after_labels_waits_for_nobody_any_more(make):
    runtime = make(golden=4)
    held = turn_once(runtime)
    label(runtime, held)
    with_a_gate_that_refuses(runtime)
    turning.run_until_idle(runtime)
    assert [status(runtime, name) for name in ("d-2", "d-3")] == ["expired", "rejected"]
    with pytest.raises(Refused, match="d-2 is superseded by d-3"):
        turning.reject(runtime, "d-2", "alice", "no")


def test_labels_that_came_in_time_are_judged_though_the_time_is_over_now(make):
    runtime = make(golden=4)
    held = turn_once(runtime)
    label(runtime, held)
    assert state(runtime, held) == "evaluate"
    runtime.clock = lambda: NOW + timedelta(days=15)
    assert turning.expire(runtime) == []
    turning.run_until_idle(runtime)
    assert views.turn_view(runtime, held)["decision"] == "d-3"


# Files that are gone


def test_an_adapter_without_its_files_is_neither_approved_nor_rolled_back_to(make):
    runtime = make(mode="review", golden=40)
    first = runtime.serving.serving()
    turn_once(runtime)
    with runtime.store.read() as con:
        waiting = decisions.get(con, "d-2")
    kept = runtime.adapters_dir / waiting.challenger
    kept.rename(runtime.adapters_dir / "aside")
    with pytest.raises(Refused, match=f"{waiting.challenger} has no folder"):
        turning.approve(runtime, "d-2", "alice", "fine")
    assert status(runtime, "d-2") == "pending"
    (runtime.adapters_dir / "aside").rename(kept)
    turning.approve(runtime, "d-2", "alice", "fine")
    shutil.rmtree(runtime.adapters_dir / first)
    with pytest.raises(Refused, match=f"{first} has no folder"):
        turning.rollback(runtime, None, "alice", "complaints")
    with runtime.store.read() as con:
        assert adapters.champion(con) == runtime.serving.serving() == waiting.challenger


def test_a_link_that_cannot_be_set_is_told_and_the_word_stands(make):
    runtime = make(mode="review", golden=40)
    turn_once(runtime)

    class Full:
        immediate = True

        def promote(self, adapter_id):
            raise OSError(28, "No space left on device")

    link, runtime.serving = runtime.serving, Full()
    with pytest.raises(FlywheelError, match="your word is recorded, but the link"):
        turning.approve(runtime, "d-2", "alice", "fine")
    assert status(runtime, "d-2") == "applied"
    runtime.serving = link
    thread = TurnThread(runtime, idle=runtime.stopping.set)
    thread.start()
    runtime.stopping.wait()
    assert thread.stop(60.0)
    with runtime.store.read() as con:
        assert adapters.champion(con) == link.serving() == decisions.get(con, "d-2").challenger


def test_a_rollback_is_to_what_has_served(make):
    runtime = make(mode="review", approvals=2, golden=40)
    turn_once(runtime)
    with runtime.store.read() as con:
        waiting = decisions.get(con, "d-2")
    with pytest.raises(Refused, match=f"{waiting.challenger} has never been champion"):
        turning.rollback(runtime, waiting.challenger, "bob", "I want it now")
    assert status(runtime, "d-2") == "pending"


# Production's answers


def test_an_import_of_productions_answers_ends_the_worker_of_the_turn_it_ends(make):
    cancelled: list[str] = []

    class Noted(Memoriser):
        def cancel(self, handle):
            cancelled.append(handle)

    runtime = make()
    runtime.executor = Noted(runtime.config.state_dir / "jobs")
    seed_runtime(runtime, golden=4)
    opened = turning.request(runtime, "manual").id
    while state(runtime, opened) != "evaluate":
        turning.advance(runtime, opened)
    cancelled.clear()
    incoming = sample("egg answered", "set_timer", "golden")
    add_samples(runtime, [Incoming(sample=incoming.sample, answer=("set_timer", None))], by="ana")
    assert state(runtime, opened) == "cancelled"
    assert f"{opened}-train" in cancelled


# Databases of earlier versions


@pytest.mark.parametrize("settled", ["rejected", "expired"])
def test_what_was_settled_while_its_turn_stayed_open_is_not_applied(make, settled):
    """Earlier versions left the turn where it was."""
    runtime = make(golden=40)
    opened = turning.request(runtime, "manual").id
    while state(runtime, opened) != "apply":
        turning.advance(runtime, opened)
    before = runtime.serving.serving()
    with runtime.store.write() as con:
        decisions.set_status(con, "d-2", settled, "alice", "no", NOW)
    turning.run_until_idle(runtime)
    assert (status(runtime, "d-2"), runtime.serving.serving()) == (settled, before)
    assert state(runtime, opened) == "done"


def test_a_held_turn_whose_decision_is_settled_does_not_stay_held(make):
    runtime = make(golden=4)
    held = turn_once(runtime)
    with runtime.store.write() as con:
        decisions.set_status(con, "d-2", "expired", "gates", "superseded by d-9", NOW)
    turning.expire(runtime)
    assert state(runtime, held) == "done"
    with runtime.store.read() as con:
        assert turns.open_turns(con) == []


# Who has the word


def test_a_promotion_that_waits_since_a_reload_is_said_to_wait_for_a_person(make):
    runtime = make(golden=40)
    opened = turning.request(runtime, "manual").id
    while state(runtime, opened) != "apply":
        turning.advance(runtime, opened)
    review = dataclasses.replace(runtime.config.promotion, mode="review")
    runtime.config = dataclasses.replace(runtime.config, promotion=review)
    turning.run_until_idle(runtime)
    assert state(runtime, opened) == "held"
    assert views.decision_view(runtime, "d-2")["waits_for"] == "a person"


@pytest.mark.parametrize("step", ["decide", "apply"])
def test_rules_that_changed_at_a_restart_are_not_those_that_a_decision_names(make, step):
    runtime = make(golden=40)
    opened = turning.request(runtime, "manual").id
    while state(runtime, opened) != step:
        turning.advance(runtime, opened)
    with_a_gate_that_refuses(runtime)
    review = dataclasses.replace(runtime.config.promotion, mode="review")
    runtime.config = dataclasses.replace(runtime.config, promotion=review)
    turning.run_until_idle(runtime)
    assert status(runtime, "d-2") == "pending"
    assert turning.verify(runtime, "d-2")["same"]
