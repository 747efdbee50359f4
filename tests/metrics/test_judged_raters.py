"""How often raters are wrong, as far as votes and a model's doubt tell."""

from __future__ import annotations

import math
import random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.metrics import Vote, judge_raters, often_wrong

votes = st.lists(
    st.builds(
        Vote,
        rater=st.sampled_from(["", "u-1", "u-2", "u-3"]),
        text=st.sampled_from("abcdef"),
        label=st.sampled_from(["play", "stop", "none"]),
        doubt=st.floats(0.01, 1000),
    ),
    max_size=30,
)


def crowd(seed: int, wrong: float, texts: int = 1000, each: int = 1) -> list[Vote]:
    """Twenty raters who err in 3 of 100, but for u-0; a model that knows nine texts in ten."""
    chance, said = random.Random(seed), []
    for text in range(texts):
        for rater in chance.sample(range(20), each):
            errs = chance.random() < (wrong if rater == 0 else 0.03)
            knows = chance.random() < 0.9
            doubt = (30.0 if errs else 0.05) if knows else 2.0
            label = f"other-{chance.randrange(4)}" if errs else "right"
            said.append(Vote(rater=f"u-{rater}", text=str(text), label=label, doubt=doubt))
    return said


def test_the_one_who_errs_most_is_found_among_twenty():
    for seed in range(20):
        raters = judge_raters(crowd(seed, wrong=0.6))
        worst = max(raters.known, key=lambda tally: tally.wrong)
        assert worst.rater == "u-0"
        assert worst.wrong == pytest.approx(0.5, abs=0.2)
        assert fmean(t.wrong for t in raters.known if t is not worst) < 0.08


def test_disagreement_alone_is_enough_where_texts_are_rated_by_three():
    for seed in range(20):
        blind = [
            Vote(rater=vote.rater, text=vote.text, label=vote.label)
            for vote in crowd(seed, wrong=0.8, each=3)
        ]
        assert max(judge_raters(blind).known, key=lambda tally: tally.wrong).rater == "u-0"


def test_nobody_is_condemned_by_a_few_labels():
    raters = judge_raters([*crowd(1, 0.03), Vote(rater="new", text="x", label="y", doubt=900.0)])
    assert next(t.wrong for t in raters.known if t.rater == "new") < 0.2


@given(votes)
def test_shares_are_shares_and_the_order_of_votes_does_not_matter(given_votes):
    raters = judge_raters(given_votes)
    assert 0 < raters.usual < 1
    assert all(0 < tally.wrong < 1 for tally in raters.known)
    again = judge_raters(given_votes[::-1])
    assert [t.rater for t in again.known] == [t.rater for t in raters.known]
    assert [t.wrong for t in again.known] == pytest.approx([t.wrong for t in raters.known])
    assert sum(t.votes for t in raters.known) == sum(1 for vote in given_votes if vote.rater)


def test_more_doubt_never_makes_a_rater_look_better():
    plain = crowd(3, wrong=0.1)
    doubted = [
        Vote(rater=v.rater, text=v.text, label=v.label, doubt=v.doubt * 3)
        if v.rater == "u-5"
        else v
        for v in plain
    ]
    before, after = (
        next(t.wrong for t in judge_raters(each).known if t.rater == "u-5")
        for each in (plain, doubted)
    )
    assert after > before


def test_a_doubt_that_is_no_ratio_is_refused():
    with pytest.raises(ValueError, match="above 0"):
        judge_raters([Vote(rater="u-1", text="x", label="y", doubt=0.0)])


def said_by(chance: random.Random, rater: str, labels: int, wrong: float) -> list[Vote]:
    """One rater's labels, each of a text of their own; a model that is right on 85 in 100.

    Its doubt is a likelihood ratio: it doubts nine wrong labels in ten, and where it is wrong
    itself it doubts right ones, less strongly.
    """
    said = []
    for number in range(labels):
        errs = chance.random() < wrong
        doubts = chance.random() < (0.9 if errs else 0.15)
        strength = chance.gauss(1.5, 0.8) if errs else chance.gauss(0.5, 0.5)
        doubt = math.exp(1.6 * max(0.0, strength)) if doubts else 0.04
        said.append(Vote(rater=rater, text=f"{rater}-{number}", label="x", doubt=doubt))
    return said


def named(seed: int, labels: int, bad: int) -> list[str]:
    chance = random.Random(seed)
    votes = [v for n in range(200) for v in said_by(chance, f"honest-{n:03}", labels, 0.05)]
    votes += [v for n in range(bad) for v in said_by(chance, f"bad-{n}", 60, 0.5)]
    return [tally.rater for tally in often_wrong(judge_raters(votes))]


def test_of_two_hundred_honest_raters_with_a_dozen_labels_hardly_one_is_called_often_wrong():
    assert sum(len(named(seed, 12, bad=0)) for seed in range(5)) <= 1  # of a thousand


def test_who_errs_in_half_of_sixty_labels_is_named_among_two_hundred_honest():
    found = [rater for seed in range(5) for rater in named(seed, 12, bad=5)]
    assert not [rater for rater in found if rater.startswith("honest")]
    assert len(found) >= 23  # of 25
