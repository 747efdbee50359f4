"""After a promotion: which arm do the corrections come from?"""

import itertools
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.config.serving_tables import WatchTable
from flywheel.promotion import (
    ArmCounts,
    Bet,
    HarmWealth,
    answers_to_see,
    harm_e_value,
    no_harm_e_value,
    watch,
)

ROLLBACK = WatchTable(mode="rollback")
SHARE = 0.1


def arms(new=(100, 100, 0), earlier=(900, 900, 0)):
    return tuple(
        ArmCounts(adapter=name, answers=answers, keys=keys, corrected=corrected)
        for name, (answers, keys, corrected) in (("a-2", new), ("a-1", earlier))
    )


def bets(new, earlier, nth=1, share=SHARE):
    return [Bet(True, nth, share)] * new + [Bet(False, nth, share)] * earlier


def test_many_corrections_of_a_small_arm_are_harm():
    found = watch(arms((100, 90, 30), (900, 800, 70)), bets(30, 70), [], ROLLBACK)
    assert (found.harmed, found.rollback, found.cleared, found.threshold) == (
        True,
        True,
        False,
        100,
    )
    assert found.detail == (
        "a-2 was corrected under 30 of 90 keys, a-1 was corrected under 70 of 800 keys; "
        f"E = {found.e_value:.3g} against 100"
    )


def test_harder_traffic_alone_is_not_harm():
    assert not watch(arms(), bets(100, 900), [], ROLLBACK).harmed


def test_a_better_champion_is_cleared():
    found = watch(arms(), bets(2, 100), [], ROLLBACK)
    assert (found.harmed, found.cleared) == (False, True)


def test_few_corrections_clear_nothing():
    assert not watch(arms(), bets(0, 20), [], ROLLBACK).cleared


def test_the_audit_sample_alone_may_show_harm():
    found = watch(arms(), [], bets(40, 60), ROLLBACK)
    assert found.harmed
    assert found.e_value == pytest.approx(0.8 + 0.2 * harm_e_value(bets(40, 60)))


def test_one_arm_shows_nothing():
    for found in (arms()[:1], arms(earlier=(0, 0, 0)), ()):
        verdict = watch(found, bets(90, 0), [], ROLLBACK)
        assert (verdict.harmed, verdict.cleared, verdict.e_value) == (False, False, 1)


@pytest.mark.parametrize(
    ("mode", "harmed", "rollback"),
    [("off", False, False), ("report", True, False), ("rollback", True, True)],
)
def test_the_mode_says_whether_harm_is_acted_on(mode, harmed, rollback):
    found = watch(arms(), bets(40, 60), [], WatchTable(mode=mode))
    assert (found.harmed, found.rollback) == (harmed, rollback)


def test_an_arm_cannot_be_corrected_under_more_keys_than_asked():
    with pytest.raises(ValueError, match="arm a-1"):
        ArmCounts(adapter="a-1", answers=5, keys=3, corrected=4)


@pytest.mark.parametrize(("nth", "share"), [(0, 0.1), (1, 0.0), (1, 1.0)])
def test_a_bet_needs_an_answer_and_two_arms(nth, share):
    with pytest.raises(ValueError, match="share"):
        Bet(True, nth, share)


@given(
    st.lists(st.integers(1, 1000), min_size=1, max_size=6),
    st.sampled_from([0.02, 0.1, 0.5, 0.98]),
)
def test_before_the_arms_are_known_a_bet_is_worth_one(places, share):
    """The law of the watch: over the lot of all arms, the expected wealth is exactly 1."""
    expected = 0.0
    for lot in itertools.product((True, False), repeat=len(places)):
        chance = 1.0
        for new in lot:
            chance *= share if new else 1 - share
        made = [Bet(new, nth, share) for new, nth in zip(lot, places, strict=True)]
        expected += chance * harm_e_value(made)
    assert expected == pytest.approx(1.0)


@given(st.lists(st.builds(Bet, st.booleans(), st.integers(1, 300), st.just(SHARE)), max_size=30))
def test_a_later_correction_of_the_new_champion_is_less_evidence(made):
    later = [Bet(bet.new, bet.nth + bet.new, bet.share) for bet in made]
    assert harm_e_value(later) <= harm_e_value(made) * (1 + 1e-9)


@given(st.permutations(bets(5, 9, nth=3) + bets(2, 4)))
def test_the_order_of_bets_changes_nothing(made):
    wealth = HarmWealth()
    for bet in made:
        wealth.add(bet)
    assert wealth.value == pytest.approx(harm_e_value(bets(5, 9, nth=3) + bets(2, 4)))


def test_later_answers_of_a_key_clear_nothing():
    assert no_harm_e_value(bets(0, 500, nth=2)) == 1


def first_harm(draws, ratio, keys):
    """Keys until harm is called, looking after every bet, with heavy correctors; None: never."""
    wealth = HarmWealth()
    for key in range(1, keys + 1):
        new = draws.random() < SHARE
        corrects = 1.0 if draws.random() < 0.05 else draws.random() * 0.5
        answers = draws.choice((1, 3, 30))
        chance = min(1.0, 0.15 * (ratio if new else 1)) * corrects
        nth = next((n for n in range(1, answers + 1) if draws.random() < chance), None)
        if nth is None:
            continue
        wealth.add(Bet(new, nth, SHARE))
        if 0.8 * wealth.value + 0.2 >= 100:
            return key
    return None


def test_looking_after_every_correction_rarely_calls_equal_arms_harmful():
    draws = random.Random(5)
    called = [first_harm(draws, 1, 1000) is not None for _ in range(200)]
    assert statistics.fmean(called) <= 0.031  # .01 and three standard errors


def test_a_doubled_rate_of_wrong_answers_is_caught():
    draws = random.Random(6)
    caught = [first_harm(draws, 2, 6000) for _ in range(20)]
    assert None not in caught


def test_it_takes_longer_to_see_less_harm_fewer_corrections_or_a_smaller_arm():
    base = answers_to_see(2.0, 0.05, 0.5, 0.01)
    assert base < answers_to_see(1.5, 0.05, 0.5, 0.01)
    assert base < answers_to_see(2.0, 0.01, 0.5, 0.01)
    assert 10 < answers_to_see(2.0, 0.05, 0.02, 0.01) / base < 20  # a holdout of .02: about 13


@pytest.mark.parametrize(("ratio", "corrected"), [(1.0, 0.1), (2.0, 0.0)])
def test_no_harm_and_no_corrections_are_never_seen(ratio, corrected):
    with pytest.raises(ValueError, match="ratio"):
        answers_to_see(ratio, corrected, 0.1, 0.01)
