"""Alarms on the traffic of a week, against the weeks before it."""

import random

import pytest

from flywheel.diagnosis import WeeklyAnswer, alarms, counted
from flywheel.scripts import word_set

WORDS = frozenset({"wake", "me", "at", "seven", "play", "jazz"})


def week(seed, n=400, *, none=0.1, text="wake me at seven", confidence=0.9):
    draws = random.Random(seed)
    made = []
    for _ in range(n):
        intent = "none" if draws.random() < none else draws.choice(["set_alarm", "play_music"])
        made.append(WeeklyAnswer(text, intent, confidence))
    return counted(made, WORDS)


QUIET = [week(seed) for seed in range(4)]


def raised(recent, before=QUIET):
    return {one.name: one.raised for one in alarms(1, recent, before)}


def test_a_week_like_those_before_raises_nothing():
    assert raised(week(9)) == dict.fromkeys(("input", "intents", "confidence", "abstention"), False)


def test_a_new_topic_that_none_swallows_raises_intents_and_abstention():
    found = raised(week(9, none=0.25))
    assert found == {"input": False, "intents": True, "confidence": False, "abstention": True}


def test_unknown_words_of_a_script_without_spaces_raise_the_input():
    words = word_set("明天早上七点叫我起床")

    def of(text):
        return counted([WeeklyAnswer(text, "set_alarm", 0.9)] * 400, words)

    before = [of("早上七点叫我起床")] * 4
    assert not raised(of("明天早上七点叫我"), before)["input"]
    assert raised(of("我要退掉这张机票"), before)["input"]


def test_unknown_words_raise_the_input():
    assert raised(week(9, text="refund my flight"))["input"]


def test_unsure_answers_raise_the_confidence():
    assert raised(week(9, confidence=0.4))["confidence"]


def test_an_alarm_says_what_moved_and_no_text():
    (alarm,) = [one for one in alarms(1, week(9, none=0.4), QUIET) if one.name == "abstention"]
    assert alarm.detail.endswith(" % in the last week")
    assert alarm.level == pytest.approx(0.25 / (365.25 / 7))


@pytest.mark.parametrize(
    ("recent", "before"), [(week(9, n=49), QUIET), (week(9), []), (week(9), [week(1, n=49)])]
)
def test_of_a_week_with_few_keys_nothing_is_said(recent, before):
    assert alarms(1, recent, before) == []


def test_without_seeds_or_confidences_those_two_are_left_out():
    made = [WeeklyAnswer("wake me", "set_alarm", None)] * 60
    counts = counted(made, frozenset())
    assert [one.name for one in alarms(1, counts, [counts])] == ["intents", "abstention"]
