"""A person, and bought labels, decide what the gates leave open."""

import contextlib
import dataclasses
import shutil
from datetime import timedelta

import pytest
from runtimes import (
    NOW,
    WORDS,
    Parrot,
    produce_failures,
    runtime_in,
    sample,
    seed_runtime,
    turn_once,
)

from flywheel.config import PromotionTable
from flywheel.errors import NotFound, Refused
from flywheel.store import turns
from flywheel.turn import (
    add_samples,
    approve,
    cancel,
    expire,
    reject,
    request,
    rollback,
    run_until_idle,
)
from tests.fakes import json_views as views

REVIEWED = PromotionTable(mode="review", bootstrap="review")


@pytest.fixture
def reviewed(tmp_path):
    """A runtime where a person approves what the gates pass."""
    runtime = runtime_in(tmp_path, teacher=Parrot(), promotion=REVIEWED)
    yield runtime
    runtime.store.close()


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """A folder where one decision was approved and the next waits; the two as they were made."""
    folder = tmp_path_factory.mktemp("two")
    runtime = runtime_in(folder, teacher=Parrot(), promotion=REVIEWED)
    with contextlib.closing(runtime.store):
        seed_runtime(runtime)
        first = decided(runtime, turn_once(runtime))
        approve(runtime, first["id"], "uid:0", "start")
        produce_failures(runtime)
        return folder, first, decided(runtime, turn_once(runtime))


@pytest.fixture
def first_and_second(story, tmp_path):
    """The loop of that folder, and its two decisions."""
    folder, first, second = story
    shutil.copytree(folder, tmp_path, symlinks=True, dirs_exist_ok=True)
    runtime = runtime_in(tmp_path, teacher=Parrot(), promotion=REVIEWED)
    yield runtime, first, second
    runtime.store.close()


def decided(runtime, turn_id):
    return views.decision_view(runtime, views.turn_view(runtime, turn_id)["decision"])


def test_the_first_champion_waits_for_a_person(reviewed):
    seed_runtime(reviewed)
    decision = decided(reviewed, turn_once(reviewed))
    assert (decision["verdict"], decision["status"]) == ("hold", "pending")
    assert reviewed.serving.serving() is None
    approved = approve(reviewed, decision["id"], "uid:0", "checked the report")
    assert (approved.status, approved.by, approved.because) == (
        "applied",
        "uid:0",
        "checked the report",
    )
    assert reviewed.serving.serving() == decision["challenger"]


def test_in_review_mode_a_passed_challenger_waits_and_approving_twice_is_told(first_and_second):
    reviewed, first, second = first_and_second
    assert (second["verdict"], second["status"]) == ("promote", "pending")
    assert reviewed.serving.serving() == first["challenger"]
    approve(reviewed, second["id"], "uid:0", "good")
    with pytest.raises(Refused, match="applied already, by uid:0: good"):
        approve(reviewed, second["id"], "uid:1", "me too")
    assert reviewed.serving.serving() == second["challenger"]
    events = views.decision_view(reviewed, second["id"])["events"]
    assert [event["what"] for event in events][-1] == "applied"


def test_a_rejected_challenger_cannot_be_approved_later(first_and_second):
    reviewed, _, second = first_and_second
    reject(reviewed, second["id"], "uid:0", "looks odd")
    for word in (reject, approve):
        with pytest.raises(Refused, match="rejected already, by uid:0: looks odd"):
            word(reviewed, second["id"], "uid:0", "changed my mind")


def test_a_newer_decision_supersedes_what_waits(first_and_second):
    reviewed, _, second = first_and_second
    add_samples(reviewed, [sample("another fresh sentence", next(iter(WORDS)), "train")], by="ana")
    third = decided(reviewed, turn_once(reviewed))
    assert third["status"] == "pending"
    with pytest.raises(Refused, match=f"superseded by {third['id']}"):
        approve(reviewed, second["id"], "uid:0", "late")


def test_rollback_serves_the_champion_before_and_says_who_asked(first_and_second):
    reviewed, first, second = first_and_second
    approve(reviewed, second["id"], "uid:0", "good")
    made = rollback(reviewed, None, "uid:0", "complaints about timers")
    assert (made.verdict, made.status, made.because) == (
        "rollback",
        "applied",
        "complaints about timers",
    )
    assert reviewed.serving.serving() == first["challenger"]
    with pytest.raises(Refused, match="champion already"):
        rollback(reviewed, first["challenger"], "uid:0", "again")
    with pytest.raises(NotFound):
        rollback(reviewed, "a-unknown", "uid:0", "typo")


def test_a_held_decision_expires_after_its_days(first_and_second):
    reviewed, _, second = first_and_second
    assert expire(reviewed) == []
    later = dataclasses.replace(reviewed, clock=lambda: NOW + timedelta(days=15))
    assert expire(later) == [second["id"]]
    with pytest.raises(Refused, match="nobody decided within 14 days"):
        approve(later, second["id"], "uid:0", "late")


def test_labels_that_a_gate_asked_for_wake_the_held_turn(after_a_turn, tmp_path):
    after_a_turn(tmp_path, golden=4)  # too few to show that no intent lost .30
    runtime = runtime_in(tmp_path, teacher=Parrot())
    turn_id = turn_once(runtime)
    held = decided(runtime, turn_id)
    assert (held["verdict"], held["status"]) == ("hold", "pending")
    assert held["labels_wanted"]
    assert views.status(runtime, uptime_s=0, next_turn=None)["backlog"]["labels_wanted"]
    rows = [
        sample(f"{WORDS[intent][i % 6]} bought{intent}{i}", intent, "golden")
        for intent, wanted in held["labels_wanted"].items()
        for i in range(wanted + 5)
    ]
    answer = add_samples(runtime, rows, by="ana")
    assert answer["bought"] == len(rows)
    assert runtime.wake.is_set()
    run_until_idle(runtime)
    final = decided(runtime, turn_id)
    assert (final["verdict"], final["status"]) == ("promote", "applied")
    overall = [next(g for g in d["gates"] if g["gate"] == "overall") for d in (held, final)]
    assert overall[0] == overall[1]  # the golden set was asked once
    runtime.store.close()


def test_a_bought_label_that_was_trained_on_is_no_evidence_and_no_breach(after_a_turn, tmp_path):
    after_a_turn(tmp_path, golden=4)
    runtime = runtime_in(tmp_path, teacher=Parrot())
    turn_id = turn_once(runtime)
    intent, wanted = next(iter(decided(runtime, turn_id)["labels_wanted"].items()))
    trained = f"{WORDS[intent][2]} prod{intent}-{WORDS[intent][2]}-0"
    add_samples(runtime, [sample(trained, intent, "golden")], by="ana")
    run_until_idle(runtime)
    again = decided(runtime, turn_id)
    assert again["verdict"] == "hold"
    assert again["labels_wanted"][intent] == wanted
    runtime.store.close()


def test_a_cancelled_turn_ends_where_it_is(runtime):
    seed_runtime(runtime)
    opened = request(runtime, "manual")
    cancel(runtime, opened.id, "uid:0")
    run_until_idle(runtime)
    assert views.turn_view(runtime, opened.id)["state"] == "cancelled"
    with runtime.store.read() as con:
        assert turns.open_turns(con) == []
    with pytest.raises(Refused, match="has ended"):
        cancel(runtime, opened.id, "uid:0")
