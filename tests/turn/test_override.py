"""A person may override a gate where the configuration says so, and it is on record."""

import pytest
from runtimes import Parrot, runtime_in, sample, turn_once

from flywheel.config import PromotionTable
from flywheel.errors import NotFound, Refused
from flywheel.turn import approve, dispute, reject
from tests.fakes import json_views as views


@pytest.fixture
def make(after_a_turn, tmp_path):
    made = []

    def with_table(golden=4, **table):
        promotion = PromotionTable(**{"mode": "auto", "bootstrap": "auto", **table})
        after_a_turn(tmp_path, golden)
        runtime = runtime_in(tmp_path, teacher=Parrot(), promotion=promotion)
        made.append(runtime)
        turn_once(runtime)
        return runtime

    yield with_table
    for runtime in made:
        runtime.store.close()


def test_what_waits_for_labels_is_approved_with_what_is_unproven_on_record(make):
    runtime = make()
    with pytest.raises(Refused, match="hygiene can never"):
        approve(runtime, "d-2", "uid:7", "in a hurry", ["hygiene"])
    done = approve(runtime, "d-2", "uid:7", "checked by hand")
    assert (done.status, runtime.serving.serving()) == ("applied", done.challenger)
    last = views.decision_view(runtime, "d-2")["events"][-1]
    assert (last["what"], last["by"]) == ("applied; unproven: intents", "uid:7")


def test_the_gates_rejection_may_be_lifted_and_a_persons_may_not(make):
    runtime = make(allow_override=("intents",))
    reject(runtime, "d-2", "uid:7", "no")
    with pytest.raises(Refused, match="rejected already"):
        approve(runtime, "d-2", "uid:8", "yes", ["intents"])


def test_two_different_people_approve_where_two_are_asked_for(make):
    runtime = make(golden=40, mode="review", approvals=2)
    before = runtime.serving.serving()
    first = approve(runtime, "d-2", "uid:7", "good")
    assert (first.status, runtime.serving.serving()) == ("pending", before)
    with pytest.raises(Refused, match=r"uid:7 has approved d-2 already \(1 of 2\)"):
        approve(runtime, "d-2", "uid:7", "very good")
    second = approve(runtime, "d-2", "uid:8", "good too")
    assert (second.status, runtime.serving.serving()) == ("applied", second.challenger)
    said = [event["what"] for event in views.decision_view(runtime, "d-2")["events"]]
    assert said == ["promote", "approved 1 of 2", "applied"]


def test_a_dispute_is_of_a_golden_sample_and_can_be_settled(make):
    runtime = make()
    golden = sample("sunrise goldenset_alarm3", "set_alarm", "golden").sample.id
    assert dispute(runtime, golden, "uid:7", "odd", disputed=True)["standing"] == 1
    assert dispute(runtime, golden, "uid:7", "checked", disputed=False)["standing"] == 0
    with pytest.raises(NotFound):
        dispute(runtime, "s-unknown", "uid:7", "odd", disputed=True)


def test_a_reviewer_sees_slices_intervals_confusions_and_what_approving_would_do(make):
    runtime = make(golden=40, mode="review")
    shown = views.decision_view(runtime, "d-2")
    assert {row["slice"] for row in shown["slices"]} == {"length=short"}
    assert all(row["low"] < row["change"] < row["high"] for row in shown["intents"])
    assert all(row["after"] < row["before"] for row in shown["confusions"])
    assert sum(each["n"] for each in shown["calibration"]["challenger"]) == 120
    assert shown["would"].startswith(f"The link adapters/champion moves to {shown['challenger']};")
    assert shown["training"]["cost_usd"] == pytest.approx(0.04)
    assert shown["training"]["by_rater"]["teacher"] > 0
