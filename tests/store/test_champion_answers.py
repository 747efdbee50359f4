"""Labels on what today's champion answers, whoever answered in production."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flywheel.metrics import IntentPair
from flywheel.records import Adapter, Feedback, Prediction
from flywheel.store import adapters, champion_answers, erasure, events
from flywheel.store.champion_answers import ChampionAnswer, StandingPair

START = datetime(2026, 11, 1, tzinfo=UTC)
DAY = timedelta(days=1)
NOW, OLD = "a-now", "a-old"


@pytest.fixture
def con(store):
    """A write transaction with two adapters in the registry."""
    with store.write() as con:
        for name in (OLD, NOW):
            adapters.add(
                con,
                Adapter(
                    id=name,
                    base="b",
                    recipe="quick",
                    dataset="",
                    parent=None,
                    created_at=START,
                    state="retired",
                ),
            )
        yield con


def produce(con, key, predicted, truth, *, adapter="", arguments=None, right=None, day=1):
    """One labelled prediction; truth None: nobody named the right intent."""
    verdict = "correct" if truth == predicted else "corrected" if truth else "incorrect"
    made = Prediction(
        id=key,
        ts=START + day * DAY,
        text=f"text {key}",
        intent=predicted,
        adapter=adapter,
        arguments=arguments or {},
    )
    said = Feedback(
        id=f"f-{key}",
        prediction_id=key,
        ts=START + day * DAY,
        verdict=verdict,
        intent=truth if verdict == "corrected" else None,
        arguments=right,
    )
    events.add_predictions(con, [made])
    events.add_feedback(con, [said])


def answered(key, intent=None, arguments=None):
    return ChampionAnswer(
        prediction_id=key, learned=intent is None, intent=intent, arguments=arguments
    )


def standing(con):
    return champion_answers.standing_pairs(con, NOW, START)


def counted(predicted, truth, correct, *, own, count=1):
    pair = IntentPair(predicted=predicted, truth=truth, correct=correct, count=count)
    return StandingPair(pair=pair, own=own)


def test_what_another_adapter_answered_is_history_until_the_champion_was_asked(con):
    produce(con, "p-1", "alarm", "timer", adapter=OLD)
    produce(con, "p-2", "alarm", "timer", adapter=OLD)
    assert standing(con) == []
    champion_answers.add(con, NOW, [answered("p-1", "timer"), answered("p-2", "alarm")])
    assert standing(con) == [
        counted("alarm", "timer", False, own=False),
        counted("timer", "timer", True, own=False),
    ]


def test_the_champions_own_answers_stand_as_given_and_a_learned_text_says_nothing(con):
    produce(con, "p-1", "alarm", "timer", adapter=NOW)
    produce(con, "p-2", "alarm", "alarm", adapter=NOW)
    assert standing(con) == [
        counted("alarm", "alarm", True, own=True),
        counted("alarm", "timer", False, own=True),
    ]
    champion_answers.add(con, NOW, [answered("p-1"), answered("p-2", "alarm")])
    assert standing(con) == [counted("alarm", "alarm", True, own=True)]


def test_answers_of_nobody_known_stand_until_the_champion_says_otherwise(con):
    produce(con, "p-1", "alarm", "timer")
    assert standing(con) == [counted("alarm", "timer", False, own=True)]
    champion_answers.add(con, NOW, [answered("p-1", "timer")])
    assert standing(con) == [counted("timer", "timer", True, own=False)]


def test_answers_of_nobody_known_before_its_reign_wait_until_the_champion_was_asked(con):
    produce(con, "p-1", "alarm", "timer", day=1)
    produce(con, "p-2", "alarm", "timer", day=3)
    reign = START + 2 * DAY
    since = champion_answers.standing_pairs(con, NOW, START, reign)
    assert since == [counted("alarm", "timer", False, own=True)]
    champion_answers.add(con, NOW, [answered("p-1", "alarm"), answered("p-2", "alarm")])
    assert champion_answers.standing_pairs(con, NOW, START, reign) == [
        counted("alarm", "timer", False, own=False),
        counted("alarm", "timer", False, own=True),
    ]


def test_what_waits_for_the_champion_is_counted_until_it_was_compared(con):
    for key, adapter in (("p-1", OLD), ("p-2", OLD), ("p-3", NOW), ("p-4", ""), ("p-5", "gpt")):
        produce(con, key, "alarm", "timer", adapter=adapter)
    produce(con, "p-6", "alarm", None, adapter="gpt", day=3)  # in its reign: as given

    def waiting():
        found = champion_answers.waiting(con, NOW, START + 2 * DAY, START)
        return [(one.predicted, one.truth, one.count) for one in found]

    assert waiting() == [("alarm", "timer", 4)]
    champion_answers.add(con, NOW, [answered("p-1"), answered("p-4", "timer")])
    assert waiting() == [("alarm", "timer", 2)]
    champion_answers.add(con, OLD, [answered("p-2", "timer")])  # it was champion in between
    assert waiting() == [("alarm", "timer", 4)]


def test_a_bare_verdict_says_nothing_of_another_answer(con):
    produce(con, "p-1", "alarm", None, adapter=OLD)
    produce(con, "p-2", "alarm", None, adapter=OLD)
    champion_answers.add(con, NOW, [answered("p-1", "alarm"), answered("p-2", "timer")])
    assert standing(con) == [counted("alarm", None, False, own=False)]


def test_arguments_are_judged_where_a_rater_named_them(con):
    at_six, at_nine = {"time": "six"}, {"time": "nine"}
    for key in ("p-1", "p-2"):
        produce(con, key, "alarm", "alarm", adapter=OLD, arguments=at_six)
    produce(con, "p-3", "timer", "alarm", adapter=OLD)
    champion_answers.add(
        con,
        NOW,
        [
            answered("p-1", "alarm", at_six),
            answered("p-2", "alarm", at_nine),
            answered("p-3", "alarm", at_nine),
        ],
    )
    assert standing(con) == [
        counted("alarm", "alarm", False, own=False),
        counted("alarm", "alarm", True, own=False, count=2),
    ]


def test_without_a_champion_to_ask_all_that_production_answered_counts(con):
    produce(con, "p-1", "alarm", "timer", adapter=OLD)
    produce(con, "p-2", "alarm", "alarm", adapter="gpt")
    assert champion_answers.standing_pairs(con, None, START) == [
        counted("alarm", "alarm", True, own=True),
        counted("alarm", "timer", False, own=True),
    ]
    assert champion_answers.verdicts(con, START) == (1, 1)


def test_the_next_champion_begins_with_nothing_of_the_one_before(con):
    produce(con, "p-1", "alarm", "timer", adapter="gpt")
    assert [row.prediction_id for row in champion_answers.to_answer(con, OLD, START, 9)] == ["p-1"]
    champion_answers.add(con, OLD, [answered("p-1", "timer")])
    assert champion_answers.to_answer(con, OLD, START, 9) == []
    (waiting,) = champion_answers.to_answer(con, NOW, START, 9)
    assert (waiting.text, waiting.intent, waiting.own) == ("text p-1", "alarm", False)
    champion_answers.add(con, NOW, [answered("p-1", "alarm")])
    assert champion_answers.to_answer(con, NOW, START, 9) == []
    assert con.execute("SELECT adapter FROM champion_answers").fetchall() == [(NOW,)]


def test_failed_texts_are_todays_and_show_both_sides_newest_first_and_once(con):
    produce(con, "p-1", "alarm", "timer", adapter=NOW, day=2)
    produce(con, "p-2", "timer", "alarm", adapter=OLD, day=3)
    produce(con, "p-3", "timer", "alarm", adapter=OLD, day=4)
    produce(con, "p-4", "play", "stop", adapter=NOW, day=4)
    produce(con, "p-5", "alarm", None, adapter=NOW, day=5)
    champion_answers.add(con, NOW, [answered("p-2", "play"), answered("p-3", "alarm")])
    found = champion_answers.failures(con, NOW, "alarm", START, 9)
    assert [(one.text, one.predicted, one.truth) for one in found] == [
        ("text p-5", "alarm", None),
        ("text p-2", "play", "alarm"),
        ("text p-1", "alarm", "timer"),
    ]
    (newest,) = champion_answers.failures(con, NOW, "alarm", START, 1)
    assert newest.text == "text p-5"


def test_what_was_erased_has_no_answer_and_gets_none(con):
    produce(con, "p-1", "alarm", "timer", adapter="gpt")
    champion_answers.add(con, NOW, [answered("p-1", "timer")])
    erasure.remove(con, erasure.traces(con, erasure.Person(prediction="p-1")))
    assert con.execute("SELECT count(*) FROM champion_answers").fetchall() == [(0,)]
    assert champion_answers.add(con, NOW, [answered("p-1", "timer")]) == 0
