"""Which intent is asked about next."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.diagnosis import Doubt, labels_that_tell, shares, worth_asking

counts = st.integers(0, 30).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(st.lists(counts, max_size=12), st.integers(0, 40))
def test_no_more_is_asked_than_was_offered_and_nothing_of_what_is_settled(found, most):
    doubts = [Doubt(intent=f"i-{i}", errors=e, n=n) for i, (e, n) in enumerate(found)]
    asked = shares(doubts, {"i-0"}, 0.10, most)
    open_ones = {d.intent for d in doubts[1:] if worth_asking(d, 0.10)}
    assert set(asked) <= open_ones
    assert sum(asked.values()) == (most if open_ones else 0)


def test_the_doubtful_intent_is_asked_more_than_one_that_does_well():
    asked = shares([Doubt(intent="well", n=6), Doubt(intent="odd", errors=3, n=6)], (), 0.10, 8)
    assert asked["odd"] > asked.get("well", 0)


def test_what_complaints_say_is_asked_first():
    doubts = [Doubt(intent="a"), Doubt(intent="b", suspected=True)]
    assert shares(doubts, (), 0.10, 1) == {"b": 1}


def test_before_any_label_every_intent_is_asked_alike():
    doubts = [Doubt(intent=name) for name in ("a", "b", "c")]
    assert shares(doubts, (), 0.10, 6) == {"a": 2, "b": 2, "c": 2}


@pytest.mark.parametrize(
    ("doubt", "more"),
    [
        (Doubt(intent="a"), 8),  # eight right answers leave little doubt
        (Doubt(intent="a", n=8), 0),
        (Doubt(intent="a", errors=4, n=10), 9),  # to show it, at the rate that it seems to have
        (Doubt(intent="a", errors=9, n=10), 0),
    ],
)
def test_how_many_labels_would_tell_is_said(doubt, more):
    assert labels_that_tell(doubt, 0.10, 150.0) == more
