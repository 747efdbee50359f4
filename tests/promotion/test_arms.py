"""Which key gets which champion, and what may never be an arm."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.promotion import ArmPlan, barred, key_of
from flywheel.records import DecisionEvent


def plan(**other):
    return ArmPlan(**{"champion": "a-2", "earlier": "a-1", "share": 0.1, "salt": "d-7", **other})


def event(challenger, champion, *, verdict="promote", status="applied", by="ada"):
    return DecisionEvent(
        decision="d-1",
        verdict=verdict,
        challenger=challenger,
        champion=champion,
        status=status,
        by=by,
    )


@given(st.text(), st.floats(0.01, 0.5))
def test_a_key_that_a_share_gives_to_the_new_champion_keeps_it_in_a_larger_share(key, share):
    if plan(share=share).gives_new(key):
        assert plan(share=share + 0.4).gives_new(key)


def test_a_key_keeps_its_arm_and_another_watch_draws_anew():
    keys = [f"u-{n}" for n in range(2000)]
    first = [plan().gives_new(key) for key in keys]
    assert first == [plan().gives_new(key) for key in keys]
    assert 140 < sum(first) < 260
    both = sum(a and plan(salt="d-8").gives_new(key) for a, key in zip(first, keys, strict=True))
    assert both < 60


def test_an_answer_sticks_to_who_asks_then_to_the_conversation_then_to_itself():
    assert key_of("u-1", "s-1", "p-1") == "u-1"
    assert key_of("", "s-1", "p-1") == "s-1"
    assert key_of("", "", "p-1") == "p-1"


@pytest.mark.parametrize("other", [{"share": 0.0}, {"share": 1.0}, {"earlier": "a-2"}])
def test_a_plan_has_two_arms(other):
    with pytest.raises(ValueError, match=r"arm"):
        plan(**other)


def test_what_was_rolled_back_or_rejected_is_no_arm_until_it_is_decided_for_again():
    assert barred([event("a-1", None)], "a-1") == ""
    back = event("a-1", "a-2", verdict="rollback", by="watch")
    assert barred([event("a-2", "a-1"), back], "a-2") == "watch rolled a-2 back in d-1"
    assert barred([back, event("a-2", "a-1")], "a-2") == ""
    refused = event("a-2", "a-1", status="rejected")
    assert barred([refused], "a-2") == "ada rejected a-2 in d-1"


def test_a_rollback_that_a_person_rejects_bars_nothing():
    kept = event("a-1", "a-2", verdict="rollback", status="rejected")
    assert barred([kept], "a-1") == ""
    assert barred([kept], "a-2") == ""
