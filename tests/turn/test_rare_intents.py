"""A long tail is judged, held with a way out, or promoted: it is never held for ever."""

import dataclasses

import pytest
from runtimes import (
    WORDS,
    Parrot,
    produce_failures,
    runtime_in,
    sample,
    seed_runtime,
    turn_once,
)

from flywheel.config import GatesTable, IntentsRule, OverallRule
from flywheel.turn import add_samples, approve, run_until_idle, verify
from tests.fakes import json_views as views

OFTEN, *RARE = WORDS
FAST = OverallRule(profile="fast")


def more_golden(runtime, intent, count, name="more"):
    words = WORDS[intent]
    rows = [sample(f"{words[i % 6]} {name}{intent}{i}", intent, "golden") for i in range(count)]
    add_samples(runtime, rows, by="ana")


@pytest.fixture
def tail(tmp_path):
    """Build a runtime whose second turn is better: one intent has 40 golden rows, two have few."""
    made = []

    def build(each=2, rule=None):
        gates = GatesTable(overall=FAST, intents=rule or IntentsRule(margin=0.30))
        runtime = runtime_in(tmp_path, teacher=Parrot(), gates=gates)
        made.append(runtime)
        seed_runtime(runtime, golden=each)
        more_golden(runtime, OFTEN, 40 - each, "head")
        turn_once(runtime)
        produce_failures(runtime)
        return runtime

    yield build
    for runtime in made:
        runtime.store.close()


def decided(runtime, turn_id):
    return views.decision_view(runtime, views.turn_view(runtime, turn_id)["decision"])


def test_rare_intents_that_have_rows_enough_together_are_promoted_without_a_label(tail):
    runtime = tail(each=4)
    decision = decided(runtime, turn_once(runtime))
    assert (decision["verdict"], decision["status"]) == ("promote", "applied")
    (pool,) = decision["ahead"]["pools"]
    assert (pool["intents"], pool["n"], pool["verdict"]) == (sorted(RARE), 8, "PASS")
    assert "little" in decision["ahead"]["not_shown"]
    assert verify(runtime, decision["id"])["same"]


def test_without_pools_the_same_challenger_is_held(tail):
    runtime = tail(each=4, rule=IntentsRule(margin=0.30, pools="off"))
    decision = decided(runtime, turn_once(runtime))
    assert (decision["verdict"], decision["waits_for"]) == ("hold", "a person")
    assert sorted(decision["ahead"]["beyond"]) == sorted(RARE)


def test_what_traffic_cannot_decide_has_three_ways_out_at_once_and_an_import_takes_one(tail):
    runtime = tail(each=2)
    turn = turn_once(runtime)
    held = decided(runtime, turn)
    assert (held["status"], held["waits_for"]) == ("pending", "a person")
    assert "traffic has too few texts to decide it" in held["because"]
    (needed,) = held["ahead"]["beyond"].values()
    assert [offer["do"] for offer in held["offers"]] == ["approve", "reject"]
    assert held["offers"][0]["unproven"] == ["intents"]
    more_golden(runtime, RARE[0], needed)
    run_until_idle(runtime)
    final = decided(runtime, turn)
    assert (final["verdict"], final["status"]) == ("promote", "applied")
    assert verify(runtime, held["id"])["same"]


def test_a_person_accepts_it_this_time_by_name_and_with_what_is_unproven(tail):
    runtime = tail(each=2)
    held = decided(runtime, turn_once(runtime))
    done = approve(runtime, held["id"], "ana (uid 1000)", "the gain is worth it")
    assert (done.status, runtime.serving.serving()) == ("applied", done.challenger)
    last = views.decision_view(runtime, held["id"])["events"][-1]
    assert (last["what"], last["by"]) == ("applied; unproven: intents", "ana (uid 1000)")


def test_the_printed_group_decides_the_next_turn(tail):
    runtime = tail(each=2)
    held = decided(runtime, turn_once(runtime))
    line = held["ahead"]["group"]
    names = [name for name in WORDS if name in line]
    assert set(RARE) <= set(names)
    rule = IntentsRule(margin=0.30, groups=dict.fromkeys(names, "few"))
    gates = dataclasses.replace(runtime.config.gates, intents=rule)
    runtime.config = dataclasses.replace(runtime.config, gates=gates)
    again = decided(runtime, turn_once(runtime))
    assert (again["verdict"], again["status"]) == ("promote", "applied")


def test_pools_stay_as_the_turn_first_had_them_however_many_rows_arrive(tail):
    runtime = tail(each=2)
    turn = turn_once(runtime)
    before = decided(runtime, turn)["ahead"]["pools"]
    more_golden(runtime, RARE[0], 1)
    run_until_idle(runtime)
    after = decided(runtime, turn)["ahead"]["pools"]
    assert [pool["intents"] for pool in after] == [pool["intents"] for pool in before]
    assert after[0]["n"] == before[0]["n"] + 1
