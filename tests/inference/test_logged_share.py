import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.inference.logged_share import LoggedShare, StandsFor

INTENTS = st.sampled_from(["a", "b", "none"])
COSTS = st.none() | st.sampled_from([0.0, 0.25, 1.5])
ANSWERS = st.lists(st.tuples(st.uuids().map(str), INTENTS, COSTS), max_size=60)


@given(ANSWERS, st.floats(0, 1), st.integers(0, 60))
def test_logged_and_left_out_together_are_all_answers_and_costs(answers, share, stop):
    """Also across a stop in between, as its state goes through JSON."""
    chosen = LoggedShare(share)
    counts, costs = {}, 0.0
    for number, (answer, intent, cost) in enumerate(answers):
        if number == stop:
            chosen = LoggedShare(share, json.loads(json.dumps(chosen.state())))
        stands = chosen.stands_for(answer, intent, cost)
        if stands is not None:
            counts[intent] = counts.get(intent, 0) + stands.answers
            costs += stands.cost_usd or 0.0
    for intent, (left, cost) in chosen.state().items():
        counts[intent] = counts.get(intent, 0) + left
        costs += cost or 0.0
    truth = {}
    for _, intent, _ in answers:
        truth[intent] = truth.get(intent, 0) + 1
    assert counts == truth
    assert costs == sum(cost or 0.0 for _, _, cost in answers)


@given(ANSWERS)
def test_all_or_none_are_logged_at_the_ends(answers):
    everything, nothing = LoggedShare(1.0), LoggedShare(0.0)
    for answer, intent, cost in answers:
        assert everything.stands_for(answer, intent, cost) == StandsFor(1, cost)
        assert nothing.stands_for(answer, intent, cost) is None


@given(ANSWERS, st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_logs_what_a_smaller_one_does(answers, one, other):
    small, large = LoggedShare(min(one, other)), LoggedShare(max(one, other))
    for answer, intent, _ in answers:
        if small.stands_for(answer, intent):
            assert large.stands_for(answer, intent)


def test_the_share_of_many_is_about_what_was_asked_for():
    chosen = LoggedShare(0.1)
    logged = sum(chosen.stands_for(f"p-{n}", "a") is not None for n in range(10_000))
    assert 900 < logged < 1100


def test_what_a_full_log_did_not_take_is_stood_for_by_the_next():
    chosen = LoggedShare(1.0)
    chosen.leave_out("a", StandsFor(3, 0.5))
    assert chosen.stands_for("p-1", "a") == StandsFor(4, 0.5)
    assert chosen.stands_for("p-2", "a") == StandsFor(1, None)


def test_a_share_beyond_one_is_refused():
    with pytest.raises(ValueError, match=r"not in 0\.\.1"):
        LoggedShare(1.5)
