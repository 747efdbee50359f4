"""Which intents fail, and what is written for them."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from flywheel.config.tables import IntentsTable, SynthesisTable
from flywheel.diagnosis import (
    ChampionLabels,
    Failed,
    Lesson,
    briefs,
    classify,
    health,
    learned,
)
from flywheel.diagnosis.budget import Claim, allocate
from flywheel.diagnosis.health import FALSE_ALARMS
from flywheel.metrics import IntentPair, Tallies, error_e_value
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


def on_dev(n, errors):
    return ChampionLabels(dev={"set_alarm": (n, errors)})


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


@given(windows, rates)
def test_no_intent_fails_with_fewer_labels_than_can_show_it(window, rate):
    table = IntentsTable(max_error_rate=rate)
    found = health(window, INTENTS, table)
    for item in found:
        if item.failing:  # even if every label were an error, the bet could not have won
            assert error_e_value(item.feedback, item.feedback, rate) >= 1 / FALSE_ALARMS
            assert item.error_rate > rate


def test_complaints_that_todays_champion_repeats_make_a_suspect_and_prove_nothing():
    """Labelled texts of champions before it, all of them complaints, that it answers as wrongly."""
    again = tallies(pair("set_timer", "set_alarm", 30), set_alarm=40, set_timer=200, play_music=400)
    found = health(again, INTENTS, TABLE, labels=ChampionLabels(served=Tallies()))
    assert [(item.intent, item.state) for item in found] == [
        ("set_alarm", "suspect"),
        ("set_timer", "suspect"),  # which it answers instead
        ("play_music", "unknown"),
    ]


@given(windows, st.integers(1, 50), st.none() | names)
def test_more_errors_never_mend_an_intent(window, more, truth):
    assume(truth not in ("set_alarm", "unknown"))
    worse = Tallies(pairs=(*window.pairs, pair("set_alarm", truth, more, False)))
    before, after = (of(health(w, INTENTS, TABLE), "set_alarm") for w in (window, worse))
    assert after.failing >= before.failing
    assert after.low >= before.low
    assert after.errors == before.errors + more


@given(st.integers(0, 50))
def test_more_dev_errors_never_mend_an_intent(errors):
    for fewer in range(0, errors, 7):
        loose, strict = (
            of(health(Tallies(), INTENTS, TABLE, labels=on_dev(50, wrong)), "set_alarm")
            for wrong in (fewer, errors)
        )
        assert strict.failing >= loose.failing


@given(windows)
def test_both_sides_of_a_confusion_are_seen(window):
    for item in health(window, INTENTS, TABLE):
        judged = [p for p in window.pairs if p.truth != "unknown"]
        concerned = [p for p in judged if item.intent in (p.predicted, p.truth)]
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


def rated(wrong, right):
    """Volunteered labels of one intent, among many answers that nobody rated."""
    return tallies(
        pair("set_alarm", "set_timer", wrong),
        pair("set_alarm", "set_alarm", right),
        set_alarm=900,
        set_timer=900,
    )


def test_a_high_rate_of_few_labels_shows_nothing_and_of_many_it_does():
    one = of(health(rated(1, 0), INTENTS, TABLE), "set_alarm")
    few = of(health(rated(2, 3), INTENTS, TABLE), "set_alarm")
    some = of(health(rated(12, 28), INTENTS, TABLE), "set_alarm")
    many = of(health(rated(30, 30), INTENTS, TABLE), "set_alarm")
    assert [item.state for item in (one, few, some, many)] == [
        "unknown",
        "unknown",
        "suspect",
        "failing",
    ]
    assert many.shown_by == ("feedback",)


def test_dev_alone_can_show_that_an_intent_fails():
    item = of(health(Tallies(), INTENTS, TABLE, labels=on_dev(40, 12)), "set_alarm")
    assert item.shown_by == ("dev",)
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
    found = health(Tallies(), INTENTS, TABLE, labels=on_dev(40, 12))
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
        "set_timer stands beside set_alarm, which does badly: confused with such intents 12 times. "
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


# The way in which labels came.


def complaints(count, served):
    return tallies(pair("set_alarm", None, count, False), set_alarm=served, play_music=2000)


def test_complaints_alone_are_no_rate_and_count_among_all_that_was_answered():
    of_many = of(health(complaints(5, 900), INTENTS, TABLE), "set_alarm")
    assert (of_many.state, of_many.stream, of_many.error_rate) == ("unknown", "complaints", 1.0)
    more = of(health(complaints(40, 900), INTENTS, TABLE), "set_alarm")
    assert (more.state, more.audit_wanted > 0) == ("suspect", True)
    of_most = of(health(complaints(400, 900), INTENTS, TABLE), "set_alarm")
    assert (of_most.state, of_most.shown_by) == ("failing", ("feedback",))


def test_the_audit_is_the_rate_where_it_clears_what_feedback_blames():
    well = ChampionLabels(audit=(pair("set_alarm", "set_alarm", 20),))
    item = of(health(rated(30, 30), INTENTS, TABLE, labels=well), "set_alarm")
    assert (item.state, item.shown_by, item.audit_n, item.audit_errors) == ("healthy", (), 20, 0)
    badly = ChampionLabels(
        audit=(pair("set_alarm", "set_timer", 8), pair("set_alarm", "set_alarm", 4))
    )
    item = of(health(rated(0, 30), INTENTS, TABLE, labels=badly), "set_alarm")
    assert (item.state, item.shown_by) == ("failing", ("audit",))
    assert item.audit_wanted == 0


def test_labels_asked_for_one_intent_say_nothing_of_what_else_they_turn_out_to_be():
    asked = ChampionLabels(asked=(pair("set_alarm", "set_timer", 12),))
    found = health(Tallies(), INTENTS, TABLE, labels=asked)
    assert of(found, "set_alarm").shown_by == ("audit",)
    timer = of(found, "set_timer")
    assert (timer.failing, timer.audit_n) == (False, 0)


def test_feedback_is_read_with_the_bias_that_dev_shows():
    """Half of what was rated is wrong, where the champion errs in a tenth: nine to one."""
    everywhere = tallies(
        *(pair(name, None, 20, False) for name in ("set_alarm", "set_timer", "play_music")),
        *(pair(name, name, 20) for name in ("set_alarm", "set_timer", "play_music")),
        set_alarm=900, set_timer=900, play_music=900,
    )  # fmt: skip
    dev = dict.fromkeys(("set_alarm", "set_timer", "play_music"), (100, 10))
    found = health(everywhere, INTENTS, TABLE, labels=ChampionLabels(dev=dev))
    assert {item.state for item in found} == {"unknown"}
    unknown_bias = health(everywhere, INTENTS, TABLE)
    assert {item.state for item in unknown_bias} == {"failing"}


def test_a_label_that_is_no_intent_counts_against_nobody():
    names = [Intent(name=f"i-{n}") for n in range(9)]
    wrong = [pair(f"i-{n % 6}", "qa_factoid", 1) for n in range(32)]
    right = [pair(f"i-{n}", f"i-{n}", 4) for n in range(9)]
    found = health(tallies(*wrong, *right), names, TABLE)
    assert [(item.errors, item.feedback) for item in found] == [(0, 4)] * 9


def test_suspects_are_written_for_and_their_errors_count_half():
    window = tallies(
        pair("set_alarm", None, 12, False),
        pair("set_alarm", "set_alarm", 28),
        pair("play_music", None, 30, False),
        pair("play_music", "play_music", 10),
        set_alarm=900,
        play_music=900,
    )
    found = health(window, INTENTS, TABLE)
    assert [(item.intent, item.state) for item in found] == [
        ("play_music", "failing"),
        ("set_alarm", "suspect"),
        ("set_timer", "unknown"),
    ]
    shown, doubted = briefs(
        found, INTENTS, {}, {}, SynthesisTable(max_samples=60, per_intent=60, per_request=5)
    )
    assert (shown.rated, doubted.rated) == ("play_music", "set_alarm")
    assert shown.ask > 2 * doubted.ask
    assert doubted.why.endswith("; suspected, not shown.")
