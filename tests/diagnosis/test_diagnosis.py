"""Which intents fail, and what is written for them."""

from __future__ import annotations

import dataclasses
from statistics import NormalDist

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from flywheel.config.tables import IntentsTable, SynthesisTable
from flywheel.diagnosis import Failed, Lesson, briefs, classify, health, learned
from flywheel.diagnosis.budget import Claim, allocate
from flywheel.metrics import IntentPair, Tallies
from flywheel.records import NONE, Intent

TABLE = IntentsTable()
ALARM = Intent(name="set_alarm", description="Wake the user")
TIMER = Intent(name="set_timer", description="倒计时")
MUSIC = Intent(name="play_music")
INTENTS = (ALARM, TIMER, MUSIC)


def pair(predicted, truth, count, correct=None):
    right = predicted == truth if correct is None else correct
    return IntentPair(predicted=predicted, truth=truth, correct=right, count=count)


def tallies(*pairs, **volume):
    return Tallies(volume=volume, pairs=pairs)


def of(found, intent):
    return next(item for item in found if item.intent == intent)


names = st.sampled_from(["set_alarm", "set_timer", "play_music", NONE, "unknown"])
pairs = st.builds(
    lambda predicted, truth, count, wrong: pair(
        predicted, truth, count, predicted == truth and not wrong
    ),
    names,
    st.none() | names,
    st.integers(0, 60),
    st.booleans(),
)
windows = st.builds(lambda found: Tallies(pairs=tuple(found)), st.lists(pairs, max_size=8))
rates = st.sampled_from([0.02, 0.1, 0.3, 0.5])
levels = st.sampled_from([0.8, 0.95, 0.99])


@given(windows, rates, levels)
def test_no_intent_fails_with_fewer_labels_than_can_show_it(window, rate, level):
    table = IntentsTable(max_error_rate=rate, confidence=level)
    z = NormalDist().inv_cdf((1 + level) / 2)
    for item in health(window, INTENTS, table):
        if item.failing:  # even if every label were an error, n / (n + z²) would have to be above
            assert item.feedback / (item.feedback + z * z) > rate
            assert item.error_rate > rate


@given(windows, st.integers(1, 50), st.none() | names)
def test_more_errors_never_mend_an_intent(window, more, truth):
    assume(truth != "set_alarm")
    worse = Tallies(pairs=(*window.pairs, pair("set_alarm", truth, more, False)))
    before, after = (of(health(w, INTENTS, TABLE), "set_alarm") for w in (window, worse))
    assert after.failing >= before.failing
    assert after.low >= before.low
    assert after.errors == before.errors + more


@given(windows, st.integers(0, 50))
def test_more_dev_errors_never_mend_an_intent(window, errors):
    for fewer in range(0, errors, 7):
        loose = of(health(window, INTENTS, TABLE, dev={"set_alarm": (50, fewer)}), "set_alarm")
        strict = of(health(window, INTENTS, TABLE, dev={"set_alarm": (50, errors)}), "set_alarm")
        assert strict.failing >= loose.failing


@given(windows)
def test_both_sides_of_a_confusion_are_seen(window):
    for item in health(window, INTENTS, TABLE):
        concerned = [p for p in window.pairs if item.intent in (p.predicted, p.truth)]
        assert item.feedback == sum(p.count for p in concerned)
        assert item.errors == sum(p.count for p in concerned if not p.correct)
        assert 0 <= item.low <= (item.error_rate or 0) <= item.high <= 1 or not item.feedback


@given(windows)
def test_every_intent_is_judged_and_the_failing_come_first(window):
    found = health(window, INTENTS, TABLE)
    assert {item.intent for item in found} >= {intent.name for intent in INTENTS}
    assert [item.failing for item in found] == sorted((i.failing for i in found), reverse=True)


def test_an_intent_without_feedback_is_unknown_and_not_failing():
    item = of(health(tallies(set_alarm=9), INTENTS, TABLE), "set_alarm")
    assert (item.predictions, item.feedback, item.error_rate) == (9, 0, None)
    assert (item.low, item.high, item.failing, item.trend) == (0.0, 1.0, False, "unknown")


def test_a_high_rate_of_few_labels_does_not_fail_and_of_many_does():
    few = of(health(tallies(pair("set_alarm", "set_timer", 1), pair("set_alarm", "set_alarm", 4)),
                    INTENTS, TABLE), "set_alarm")  # fmt: skip
    many = of(health(tallies(pair("set_alarm", "set_timer", 8), pair("set_alarm", "set_alarm", 32)),
                     INTENTS, TABLE), "set_alarm")  # fmt: skip
    assert few.error_rate == many.error_rate == 0.2
    assert not few.failing
    assert many.failing


def test_dev_alone_can_show_that_an_intent_fails():
    item = of(health(Tallies(), INTENTS, TABLE, dev={"set_alarm": (40, 12)}), "set_alarm")
    assert (item.failing, item.dev_n, item.dev_errors, item.feedback) == (True, 40, 12, 0)


def test_neighbours_come_most_confused_first_and_wrong_arguments_have_none():
    found = health(
        tallies(
            pair("set_alarm", "set_timer", 3),
            pair("set_timer", "set_alarm", 2),
            pair("set_alarm", "play_music", 4),
            pair("set_alarm", None, 6, False),
            pair("set_alarm", "set_alarm", 5, False),
        ),
        INTENTS,
        TABLE,
    )
    item = of(found, "set_alarm")
    assert item.confused_with == (("set_timer", 5), ("play_music", 4))
    assert (item.feedback, item.errors) == (20, 20)
    assert of(found, "play_music").confused_with == (("set_alarm", 4),)


def test_out_of_scope_is_judged_where_it_occurs():
    assert NONE not in {item.intent for item in health(Tallies(), INTENTS, TABLE)}
    found = health(tallies(pair("play_music", NONE, 30), none=2), INTENTS, TABLE)
    assert of(found, NONE).failing
    assert of(found, NONE).predictions == 2


def test_an_old_name_counts_for_the_new_one_unless_it_is_in_use_again():
    renamed = dataclasses.replace(ALARM, renamed_from=("alarm",), merged_from=("set_timer",))
    window = tallies(
        pair("alarm", "set_alarm", 4, False), pair("alarm", "play_music", 3), alarm=7, set_alarm=1
    )
    item = of(health(window, (renamed, MUSIC), TABLE), "set_alarm")
    assert (item.predictions, item.feedback, item.errors) == (8, 7, 3)
    again = of(health(tallies(set_timer=5), (renamed, TIMER), TABLE), "set_timer")
    assert again.predictions == 5


@pytest.mark.parametrize(
    ("before", "after", "trend"),
    [
        ((5, 100), (30, 100), "worse"),
        ((30, 100), (5, 100), "better"),
        ((10, 1000), (11, 1000), "flat"),
        ((1, 10), (3, 10), "unknown"),
        ((0, 0), (30, 100), "unknown"),
        ((0, 100), (0, 0), "unknown"),
    ],
)
def test_the_trend_is_what_the_interval_of_the_difference_says(before, after, trend):
    def window(errors, n):
        return tallies(
            pair("set_alarm", "set_timer", errors), pair("set_alarm", "set_alarm", n - errors)
        )

    found = health(Tallies(), INTENTS, TABLE, earlier=window(*before), recent=window(*after))
    assert of(found, "set_alarm").trend == trend


WINDOW = tallies(
    pair("set_alarm", "set_timer", 12),
    pair("set_alarm", "set_alarm", 28),
    pair("play_music", None, 9, False),
    pair("play_music", "play_music", 11),
)


def missed(text):
    return Failed(text=text, predicted="set_timer", truth="set_alarm")


TEXTS = {
    "set_alarm": [missed("叫我起床"), missed("wake me")],
    "play_music": [Failed(text="放歌", predicted="play_music", truth=None)],
}
EXAMPLES = {"set_alarm": ["alarm at six"], "set_timer": ["定时五分钟"]}


def test_each_failing_intent_has_one_brief_most_errors_first():
    found = health(WINDOW, INTENTS, TABLE)
    first, second, third = briefs(found, INTENTS, TEXTS, EXAMPLES, SynthesisTable())
    assert (first.intent, first.neighbour) == (ALARM, TIMER)
    assert first.failed_texts == ("叫我起床", "wake me")
    assert (first.examples, first.contrast) == (("alarm at six",), ("定时五分钟",))
    assert first.why == (
        "set_alarm is wrong in 12 of 40 labelled predictions (30%, at least 18%), "
        "most often confused with set_timer."
    )
    assert (second.intent, second.neighbour) == (TIMER, ALARM)
    assert (third.intent, third.neighbour, third.contrast) == (MUSIC, None, ())
    assert [brief.ask for brief in (first, second, third)] == [20, 20, 20]


@pytest.mark.parametrize(("price", "costs"), [(0.0, False), (0.002, True)])
def test_what_a_dollar_mends_is_told_only_where_a_sample_has_a_price(price, costs):
    found = health(WINDOW, INTENTS, TABLE)
    for brief in briefs(
        found, INTENTS, TEXTS, EXAMPLES, SynthesisTable(), prices=learned((), price)
    ):
        assert (brief.usd > 0) is costs


def test_the_wishes_of_a_turn_stay_within_its_limit():
    found = health(WINDOW, INTENTS, TABLE)
    table = SynthesisTable(max_samples=30, per_intent=20, failed_texts=1)
    written = briefs(found, INTENTS, TEXTS, EXAMPLES, table)
    assert [brief.ask for brief in written] == [10, 10, 10]
    assert written[0].failed_texts == ("叫我起床",)
    assert briefs(found, INTENTS, TEXTS, EXAMPLES, SynthesisTable(max_samples=0)) == ()
    assert briefs(found, INTENTS, TEXTS, EXAMPLES, SynthesisTable(max_usd=0.0)) == ()


def test_the_same_wish_has_the_same_name_and_another_wish_another():
    found = health(WINDOW, INTENTS, TABLE)
    first = briefs(found, INTENTS, TEXTS, EXAMPLES, SynthesisTable())
    assert first == briefs(found, INTENTS, TEXTS, EXAMPLES, SynthesisTable())
    other = briefs(
        found, INTENTS, {**TEXTS, "set_alarm": [missed("起床")]}, EXAMPLES, SynthesisTable()
    )
    assert first[0].id != other[0].id
    assert first[1].id == other[1].id
    assert all(brief.id.startswith("b-") for brief in first)


def test_a_brief_for_no_call_says_what_out_of_scope_is():
    found = health(tallies(pair("play_music", NONE, 30)), INTENTS, TABLE)
    written = {b.intent.name: b for b in briefs(found, INTENTS, {}, {}, SynthesisTable())}
    assert written[NONE].intent.description == "Asks for none of the functions: out of scope"
    assert written["play_music"].neighbour.name == NONE


def test_a_brief_that_only_dev_asks_for_names_dev():
    found = health(Tallies(), INTENTS, TABLE, dev={"set_alarm": (40, 12)})
    (brief,) = briefs(found, INTENTS, {}, {}, SynthesisTable())
    assert brief.why == "set_alarm is wrong in 12 of 40 dev examples."


@pytest.mark.parametrize(
    ("failed", "kind"),
    [
        (Failed(text="a", predicted="set_timer", truth="set_alarm"), "wrong_intent"),
        (Failed(text="a", predicted="set_timer", truth=None), "wrong_intent"),
        (Failed(text="a", predicted="set_timer", truth=NONE), "should_abstain"),
        (Failed(text="a", predicted=NONE, truth="set_alarm"), "abstained"),
        (Failed(text="a", predicted="drop tables", truth="set_alarm"), "malformed"),
        (Failed(text="a", predicted=NONE, truth="set_alarm", far=True), "unseen_wording"),
        (
            Failed(text="a", predicted=NONE, truth="set_alarm", far=True, new_slice="locale=de"),
            "unseen_slice",
        ),
    ],
)
def test_a_failure_is_classed_by_what_would_mend_it(failed, kind):
    assert classify(failed, {"set_alarm", "set_timer", NONE}) == kind


@pytest.mark.parametrize(
    ("said", "right", "kind"),
    [
        ({}, {"time": "six"}, "missing_argument"),
        ({"time": "six", "day": "today"}, {"time": "six"}, "extra_argument"),
        ({"time": "nine"}, {"time": "six"}, "wrong_argument"),
        ({"time": "nine"}, None, "wrong_argument"),
    ],
)
def test_a_right_intent_with_wrong_arguments_is_classed_by_the_argument(said, right, kind):
    failed = Failed(
        text="a",
        predicted="set_alarm",
        truth="set_alarm",
        predicted_arguments=said,
        truth_arguments=right,
    )
    assert classify(failed, {"set_alarm"}) == kind


def test_each_kind_of_failure_has_its_own_brief_and_the_rare_ones_join_the_first():
    failed = {
        "set_alarm": [
            *[missed(f"miss {i}") for i in range(6)],
            *[Failed(text=f"out {i}", predicted="set_alarm", truth=NONE) for i in range(3)],
            Failed(text="garbled", predicted="?", truth="set_alarm"),
        ]
    }
    found = health(tallies(pair("set_alarm", "set_timer", 30)), (ALARM, TIMER), TABLE)
    written = [
        brief
        for brief in briefs(found, (ALARM, TIMER), failed, {}, SynthesisTable(per_intent=40))
        if ALARM in (brief.intent, brief.neighbour) and brief.failed_texts
    ]
    missing, outside = written
    assert (missing.failure, missing.intent, missing.neighbour) == ("wrong_intent", ALARM, TIMER)
    assert "garbled" in missing.failed_texts
    assert (outside.failure, outside.intent.name, outside.neighbour) == (
        "should_abstain",
        NONE,
        ALARM,
    )
    assert outside.vary != missing.vary


BESIDE = tallies(
    pair("set_alarm", "set_timer", 12),
    pair("set_alarm", "set_alarm", 20),
    pair("set_timer", "set_timer", 400),
    pair("play_music", "play_music", 40),
)


def test_the_intent_beside_a_failing_one_gets_samples_of_its_own():
    found = health(BESIDE, INTENTS, TABLE)
    failed = {
        "set_alarm": [
            Failed(text="ten minutes", predicted="set_alarm", truth="set_timer"),
            Failed(text="nobody knows", predicted="set_alarm", truth=None),
        ]
    }
    alarm, timer = briefs(found, INTENTS, failed, EXAMPLES, SynthesisTable())
    assert (alarm.intent, alarm.neighbour, alarm.ask) == (ALARM, TIMER, 20)
    assert (timer.failure, timer.intent, timer.neighbour) == ("border", TIMER, ALARM)
    assert timer.ask == 10
    assert timer.failed_texts == ("ten minutes",)
    assert timer.examples == ("定时五分钟",)
    assert timer.contrast == ("alarm at six",)
    assert timer.why == (
        "set_timer stands beside set_alarm, which fails: confused with failing intents 12 times. "
        "Samples of its own keep the border where it is."
    )


@given(windows, st.integers(0, 80), st.integers(1, 30))
def test_the_borders_take_no_more_than_their_share_and_all_stays_within_the_turn(
    window, samples, most
):
    table = SynthesisTable(max_samples=samples, per_intent=most)
    written = briefs(health(window, INTENTS, TABLE), INTENTS, {}, {}, table)
    assert sum(brief.ask for brief in written) <= samples
    borders = [brief for brief in written if brief.failure == "border"]
    assert sum(brief.ask for brief in borders) <= samples / 4
    assert not {b.intent.name for b in borders} & {
        b.intent.name for b in written if b.failure != "border"
    }


def test_an_unseen_language_is_named_in_its_brief():
    failed = {
        "set_alarm": [
            Failed(text="weck mich", predicted=NONE, truth="set_alarm", new_slice="locale=de")
        ]
    }
    found = health(tallies(pair(NONE, "set_alarm", 30)), (ALARM,), TABLE)
    brief = next(b for b in briefs(found, (ALARM,), failed, {}, SynthesisTable()) if b.slices)
    assert (brief.failure, brief.slices) == ("unseen_slice", {"locale": "de"})


def lesson(failure, rate_since, labels=90):
    return Lesson(
        failure=failure,
        samples=20,
        usd=0.2,
        rate_before=0.4,
        rate_since=rate_since,
        labels=labels,
    )


def test_the_fewer_labels_say_how_it_went_the_less_is_learned_from_it():
    none, few, many = (
        learned([lesson("abstained", rate_since=0.4, labels=labels)]).recovery["abstained"]
        for labels in (0, 5, 500)
    )
    assert 0.03 == none > few > many


def test_samples_go_where_earlier_turns_mended_more_for_a_dollar():
    lessons = [
        lesson("abstained", rate_since=0.1),
        lesson("wrong_intent", rate_since=0.4),
    ]
    prices = learned(lessons)
    assert prices.usd == pytest.approx(0.01)
    assert prices.recovery["abstained"] > 0.03 > prices.recovery["wrong_intent"]
    claims = [
        Claim(intent="a", failure="wrong_intent", errors=10),
        Claim(intent="b", failure="abstained", errors=10),
    ]
    given_out = allocate(claims, prices, samples=30, most=20, chunk=10, usd=9.0)
    assert given_out == [10, 20]
    assert allocate(claims, prices, samples=30, most=20, chunk=10, usd=0.1) == [0, 10]


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 50)), max_size=6),
    st.integers(0, 100),
    st.integers(1, 30),
    st.integers(1, 12),
)
def test_what_is_given_out_never_exceeds_the_turn_or_an_intent(errors, samples, most, chunk):
    claims = [Claim(intent=name, failure="wrong_intent", errors=count) for name, count in errors]
    given_out = allocate(
        claims, learned(()), samples=samples, most=most, chunk=chunk, usd=float("1e9")
    )
    assert sum(given_out) <= samples
    for name in "abc":
        mine = [n for n, claim in zip(given_out, claims, strict=True) if claim.intent == name]
        assert sum(mine) <= most
