"""A person's word, another's, and what the loop does by itself meanwhile: none is lost."""

from __future__ import annotations

import dataclasses
import shutil
from datetime import timedelta

import pytest
from wheels import (
    NOW,
    WORDS,
    Memoriser,
    Parrot,
    produce_failures,
    sample,
    seed_the_wheel,
    turn_once,
    wheel_in,
)

from flywheel import gates
from flywheel import turn as turning
from flywheel.config import GatesTable, IntentsRule, OverallRule, PromotionTable
from flywheel.config.tables import CustomRule
from flywheel.daemon.turn_thread import TurnThread
from flywheel.errors import FlywheelError, Refused
from flywheel.store import adapters, decisions, turns
from flywheel.turn import Incoming, Wheel, add_samples, views

AUTO = PromotionTable(mode="auto", bootstrap="auto")
REFUSES = """
from flywheel.records import GateResult

def judge(evidence, options):
    return GateResult(gate="words", verdict="FAIL", n=1, detail="never")
"""


@pytest.fixture
def make(tmp_path):
    made = []

    def build(**promotion) -> Wheel:
        rules = dataclasses.replace(AUTO, **promotion)
        made.append(wheel_in(tmp_path, teacher=Parrot(), promotion=rules))
        return made[-1]

    yield build
    for wheel in made:
        wheel.store.close()


def learned(wheel: Wheel, golden: int) -> Wheel:
    """A first champion, and failures that the next turn learns from."""
    seed_the_wheel(wheel, golden=golden)
    turn_once(wheel)
    produce_failures(wheel)
    return wheel


def with_a_gate_that_refuses(wheel: Wheel) -> Wheel:
    """As a reload does it: the gates and their plug-in at once."""
    folder = wheel.config.root / "plugins"
    folder.mkdir(exist_ok=True)
    (folder / "refuses.py").write_text(REFUSES)
    rules = GatesTable(
        overall=OverallRule(profile="fast"),
        intents=IntentsRule(margin=0.30),
        custom={"words": CustomRule(plugin="refuses")},
    )
    wheel.config = dataclasses.replace(wheel.config, gates=rules)
    wheel.custom_gates = gates.custom_gates(rules, folder)
    return wheel


def label(wheel: Wheel, turn_id: str, text: str = "") -> None:
    """One of the labels that the held turn waits for."""
    intent = next(iter(views.turn_view(wheel, turn_id)["labels_wanted"]))
    add_samples(wheel, [sample(f"{WORDS[intent][0]} asked {text}", intent, "golden")])


def state(wheel: Wheel, turn_id: str) -> str:
    return str(views.turn_view(wheel, turn_id)["state"])


def status(wheel: Wheel, name: str) -> str:
    with wheel.store.read() as con:
        return decisions.get(con, name).status


# Two people


def test_two_people_may_lift_what_the_gates_rejected(make):
    two = {"approvals": 2, "allow_override": ("words",)}
    wheel = with_a_gate_that_refuses(learned(make(mode="review", **two), golden=40))
    turn_once(wheel)
    assert status(wheel, "d-2") == "rejected"
    first = turning.approve(wheel, "d-2", "bob", "checked by hand", ["words"])
    assert (first.status, first.by) == ("pending", "bob")
    turn_once(wheel)  # the very same adapter: bob, who approved it, did not reject it
    with wheel.store.read() as con:
        said = [decisions.get(con, name).because for name in ("d-2", "d-3")]
    assert not any("bob rejected" in because for because in said)
    with pytest.raises(Refused, match="words did not pass"):
        turning.approve(wheel, "d-2", "carol", "checked too")
    done = turning.approve(wheel, "d-2", "carol", "checked too", ["words"])
    assert (done.status, wheel.serving.serving()) == ("applied", done.challenger)


def test_an_approval_that_lifts_an_old_rejection_waits_its_time_for_the_second(make):
    two = {"approvals": 2, "allow_override": ("words",)}
    wheel = with_a_gate_that_refuses(learned(make(mode="review", **two), golden=40))
    turn_once(wheel)
    wheel.clock = lambda: NOW + timedelta(days=30)
    turning.approve(wheel, "d-2", "bob", "checked by hand", ["words"])
    wheel.clock = lambda: NOW + timedelta(days=43)
    assert turning.expire(wheel) == []
    wheel.clock = lambda: NOW + timedelta(days=45)
    assert turning.expire(wheel) == ["d-2"]


# A turn that is judged again beside another


def test_a_turn_that_a_person_started_goes_on_when_another_is_held_again(make):
    wheel = learned(make(), golden=4)
    held = turn_once(wheel)
    started = turning.request(wheel, "asked by alice").id
    label(wheel, held)
    while state(wheel, held) != "held" or status(wheel, "d-2") == "pending":
        turning.advance(wheel, held)
    assert status(wheel, "d-3") == "pending"
    assert (state(wheel, held), state(wheel, started)) == ("held", "diagnose")


def test_what_the_gates_reject_after_labels_waits_for_nobody_any_more(make):
    wheel = learned(make(), golden=4)
    held = turn_once(wheel)
    label(wheel, held)
    with_a_gate_that_refuses(wheel)
    turning.run_until_idle(wheel)
    assert [status(wheel, name) for name in ("d-2", "d-3")] == ["expired", "rejected"]
    with pytest.raises(Refused, match="d-2 is superseded by d-3"):
        turning.reject(wheel, "d-2", "alice", "no")


def test_labels_that_came_in_time_are_judged_though_the_time_is_over_now(make):
    wheel = learned(make(), golden=4)
    held = turn_once(wheel)
    label(wheel, held)
    assert state(wheel, held) == "evaluate"
    wheel.clock = lambda: NOW + timedelta(days=15)
    assert turning.expire(wheel) == []
    turning.run_until_idle(wheel)
    assert views.turn_view(wheel, held)["decision"] == "d-3"


# Files that are gone


def test_an_adapter_without_its_files_is_neither_approved_nor_rolled_back_to(make):
    wheel = learned(make(mode="review"), golden=40)
    first = wheel.serving.serving()
    turn_once(wheel)
    with wheel.store.read() as con:
        waiting = decisions.get(con, "d-2")
    kept = wheel.adapters_dir / waiting.challenger
    kept.rename(wheel.adapters_dir / "aside")
    with pytest.raises(Refused, match=f"{waiting.challenger} has no folder"):
        turning.approve(wheel, "d-2", "alice", "fine")
    assert status(wheel, "d-2") == "pending"
    (wheel.adapters_dir / "aside").rename(kept)
    turning.approve(wheel, "d-2", "alice", "fine")
    shutil.rmtree(wheel.adapters_dir / first)
    with pytest.raises(Refused, match=f"{first} has no folder"):
        turning.rollback(wheel, None, "alice", "complaints")
    with wheel.store.read() as con:
        assert adapters.champion(con) == wheel.serving.serving() == waiting.challenger


def test_a_link_that_cannot_be_set_is_told_and_the_word_stands(make):
    wheel = learned(make(mode="review"), golden=40)
    turn_once(wheel)

    class Full:
        def promote(self, adapter_id):
            raise OSError(28, "No space left on device")

    link, wheel.serving = wheel.serving, Full()
    with pytest.raises(FlywheelError, match="your word is recorded, but the link"):
        turning.approve(wheel, "d-2", "alice", "fine")
    assert status(wheel, "d-2") == "applied"
    wheel.serving = link
    thread = TurnThread(wheel, idle=wheel.stopping.set)
    thread.start()
    wheel.stopping.wait()
    assert thread.stop(60.0)
    with wheel.store.read() as con:
        assert adapters.champion(con) == link.serving() == decisions.get(con, "d-2").challenger


def test_a_rollback_is_to_what_has_served(make):
    wheel = learned(make(mode="review", approvals=2), golden=40)
    turn_once(wheel)
    with wheel.store.read() as con:
        waiting = decisions.get(con, "d-2")
    with pytest.raises(Refused, match=f"{waiting.challenger} has never been champion"):
        turning.rollback(wheel, waiting.challenger, "bob", "I want it now")
    assert status(wheel, "d-2") == "pending"


# Production's answers


def test_an_import_of_productions_answers_ends_the_worker_of_the_turn_it_ends(make):
    cancelled: list[str] = []

    class Noted(Memoriser):
        def cancel(self, job_id):
            cancelled.append(job_id)

    wheel = make()
    wheel.executor = Noted(wheel.config.state_dir / "jobs")
    seed_the_wheel(wheel, golden=4)
    opened = turning.request(wheel, "manual").id
    while state(wheel, opened) != "evaluate":
        turning.advance(wheel, opened)
    incoming = sample("egg answered", "set_timer", "golden")
    add_samples(wheel, [Incoming(sample=incoming.sample, answer=("set_timer", None))])
    assert state(wheel, opened) == "cancelled"
    assert f"{opened}-train" in cancelled


# Databases of earlier versions


@pytest.mark.parametrize("settled", ["rejected", "expired"])
def test_what_was_settled_while_its_turn_stayed_open_is_not_applied(make, settled):
    """Earlier versions left the turn where it was."""
    wheel = learned(make(), golden=40)
    opened = turning.request(wheel, "manual").id
    while state(wheel, opened) != "apply":
        turning.advance(wheel, opened)
    before = wheel.serving.serving()
    with wheel.store.write() as con:
        decisions.set_status(con, "d-2", settled, "alice", "no", NOW)
    turning.run_until_idle(wheel)
    assert (status(wheel, "d-2"), wheel.serving.serving()) == (settled, before)
    assert state(wheel, opened) == "done"


def test_a_held_turn_whose_decision_is_settled_does_not_stay_held(make):
    wheel = learned(make(), golden=4)
    held = turn_once(wheel)
    with wheel.store.write() as con:
        decisions.set_status(con, "d-2", "expired", "gates", "superseded by d-9", NOW)
    turning.expire(wheel)
    assert state(wheel, held) == "done"
    with wheel.store.read() as con:
        assert turns.open_turns(con) == []


# Who has the word


def test_a_promotion_that_waits_since_a_reload_is_said_to_wait_for_a_person(make):
    wheel = learned(make(), golden=40)
    opened = turning.request(wheel, "manual").id
    while state(wheel, opened) != "apply":
        turning.advance(wheel, opened)
    review = dataclasses.replace(wheel.config.promotion, mode="review")
    wheel.config = dataclasses.replace(wheel.config, promotion=review)
    turning.run_until_idle(wheel)
    assert state(wheel, opened) == "held"
    assert views.decision_view(wheel, "d-2")["waits_for"] == "a person"


@pytest.mark.parametrize("step", ["decide", "apply"])
def test_rules_that_changed_at_a_restart_are_not_those_that_a_decision_names(make, step):
    wheel = learned(make(), golden=40)
    opened = turning.request(wheel, "manual").id
    while state(wheel, opened) != step:
        turning.advance(wheel, opened)
    with_a_gate_that_refuses(wheel)
    review = dataclasses.replace(wheel.config.promotion, mode="review")
    wheel.config = dataclasses.replace(wheel.config, promotion=review)
    turning.run_until_idle(wheel)
    assert status(wheel, "d-2") == "pending"
    assert turning.verify(wheel, "d-2")["same"]
