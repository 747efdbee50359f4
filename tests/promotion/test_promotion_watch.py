"""After a promotion: which arm do the corrections come from?"""

import random
import statistics

import pytest

from flywheel.config.tables import WatchTable
from flywheel.promotion import Arm, watch

ROLLBACK = WatchTable(mode="rollback")


def arms(new, earlier):
    return (
        Arm(adapter="a-2", predictions=new[0], corrected=new[1]),
        Arm(adapter="a-1", predictions=earlier[0], corrected=earlier[1]),
    )


def test_a_doubled_rate_of_corrections_is_harm():
    found = watch(arms((1000, 160), (1000, 80)), ROLLBACK)
    assert (found.harmed, found.rollback, found.threshold) == (True, True, 100)
    assert found.detail.startswith("a-2 was corrected 160 times in 1000 answers, a-1 80 in 1000")


def test_harder_traffic_alone_is_not_harm():
    assert not watch(arms((1000, 300), (1000, 300)), ROLLBACK).harmed


def test_a_better_champion_is_not_harm():
    assert not watch(arms((1000, 40), (1000, 80)), ROLLBACK).harmed


def test_one_arm_shows_nothing():
    assert not watch(arms((1000, 900), (1, 0))[:1], ROLLBACK).harmed
    assert not watch(arms((1000, 900), (0, 0)), ROLLBACK).harmed
    assert watch((), ROLLBACK).e_value == 1


@pytest.mark.parametrize(
    ("mode", "harmed", "rollback"),
    [("off", False, False), ("report", True, False), ("rollback", True, True)],
)
def test_the_rule_says_whether_harm_is_acted_on(mode, harmed, rollback):
    found = watch(arms((1000, 300), (1000, 80)), WatchTable(mode=mode))
    assert (found.harmed, found.rollback) == (harmed, rollback)


def test_an_arm_cannot_be_corrected_more_often_than_asked():
    with pytest.raises(ValueError, match="arm a-1"):
        Arm(adapter="a-1", predictions=3, corrected=4)


def first_harm(draws, rate_new, rate_earlier, events):
    """Events until harm is called, looking after every correction; None within `events`."""
    seen, corrected = [0, 0], [0, 0]
    for event in range(1, events + 1):
        side = draws.randrange(2)
        seen[side] += 1
        if draws.random() >= (rate_new, rate_earlier)[side]:
            continue
        corrected[side] += 1
        if all(seen) and watch(arms(*zip(seen, corrected, strict=True)), ROLLBACK).harmed:
            return event
    return None


def test_looking_after_every_correction_rarely_calls_equal_arms_harmful():
    draws = random.Random(5)
    called = [first_harm(draws, 0.15, 0.15, 3000) is not None for _ in range(300)]
    assert statistics.fmean(called) <= 0.027  # .01 and three standard errors


def test_a_doubled_rate_is_caught_within_about_nine_hundred_events():
    draws = random.Random(6)
    caught = [first_harm(draws, 0.15, 0.075, 5000) or 5000 for _ in range(100)]
    assert statistics.median(caught) <= 1200
