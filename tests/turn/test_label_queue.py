"""A person's labels: what is asked, what the answers become, and what two people agree on."""

import dataclasses
import itertools
import random
import shutil
from datetime import timedelta

import pytest
from runtimes import (
    ALARM,
    NOW,
    PLAY,
    TIMER,
    WORDS,
    Parrot,
    produce_failures,
    runtime_in,
    sample,
    seed_runtime,
    turn_once,
)

from flywheel import labelling
from flywheel.config import FreshRule, GatesTable, LabellingTable
from flywheel.errors import NotFound, Refused
from flywheel.label_queue import LabelAnswer, asked, give, give_many, settle, undo
from flywheel.records import Feedback, Prediction, TurnRecord
from flywheel.store import events, golden_set, health, labels, samples, turns
from flywheel.turn import add_samples, expire, run_until_idle
from flywheel.turn.curate import curate
from flywheel.turn.evaluate import set_aside
from tests.fakes import json_views as views

ANN, BO = "ann (uid 1)", "bo (uid 2)"


def runtime_with(folder, **shares):
    given = {
        "first": 0,
        "health": 0,
        "audit": 0.0,
        "uncertain": 0.0,
        "second_opinion": 0.0,
    } | shares
    return runtime_in(folder, teacher=Parrot(), labelling=LabellingTable(**given))


@pytest.fixture
def make(tmp_path):
    """Build the loop with these shares."""
    made = []

    def build(**shares):
        made.append(runtime_with(tmp_path, **shares))
        return made[-1]

    yield build
    for runtime in made:
        runtime.store.close()


def predict(runtime, *rows, ago=timedelta(0)):
    """Store predictions: (id, text, intent, confidence)."""
    with runtime.store.write() as con:
        events.add_predictions(
            con,
            [
                Prediction(id=key, ts=NOW - ago, text=text, intent=intent, confidence=sure)
                for key, text, intent, sure in rows
            ],
        )


def rate(runtime, *rows):
    """Store feedback: (prediction, rater, intent)."""
    with runtime.store.write() as con:
        events.add_feedback(
            con,
            [
                Feedback(
                    id=f"f-{key}-{rater}",
                    prediction_id=key,
                    ts=NOW - timedelta(hours=1),
                    verdict="corrected",
                    intent=intent,
                    rater=rater,
                )
                for key, rater, intent in rows
            ],
        )


def items(runtime, person=ANN, kind=None):
    return [item for item in asked(runtime, person, 1000)[1] if item.kind == kind or kind is None]


def texts(runtime, person=ANN, kind=None):
    return [item.text for item in items(runtime, person, kind)]


def say(runtime, item, intent, person=ANN):
    return give(runtime, person, LabelAnswer(item=item, intent=intent))


# What is asked


def test_the_audit_sample_is_the_same_uniform_share_for_everybody(make):
    runtime = make(audit=0.1)
    rows = [(f"p-{n}", f"text {n}", ALARM, 0.99) for n in range(500)]
    predict(runtime, *rows)
    rate(runtime, *[(key, "u", TIMER) for key, *_ in rows[:250]])  # feedback changes nothing
    drawn = {item.prediction for item in items(runtime, ANN, "audit")}
    assert drawn == {key for key, *_ in rows if labelling.drawn("audit", key, 0.1)}
    assert drawn == {item.prediction for item in items(runtime, BO, "audit")}
    lots = [labelling.lot("audit", item.prediction) for item in items(runtime, ANN, "audit")]
    assert lots == sorted(lots)


def test_the_least_certain_are_asked_first_and_what_is_known_is_not(make):
    runtime = make(uncertain=0.5)
    add_samples(runtime, [sample("known already", ALARM, "train")], by="ana")
    add_samples(runtime, [sample("please judge by this text", ALARM, "golden")], by="ana")
    predict(
        runtime,
        ("p-1", "sure", ALARM, 0.9),
        ("p-2", "half sure", ALARM, 0.4),
        ("p-3", "not sure", ALARM, 0.1),
        ("p-4", "not sure", ALARM, 0.2),
        ("p-5", "known already", ALARM, 0.1),
        ("p-6", "Please judge by this text!", ALARM, 0.1),
        ("p-7", "does not say", ALARM, None),
        ("p-8", "rated", ALARM, 0.1),
    )
    rate(runtime, ("p-8", "u", ALARM))
    assert texts(runtime, kind="uncertain") == ["not sure", "half sure"]
    assert items(runtime, kind="uncertain")[0].guesses == (ALARM,)


def test_texts_on_which_raters_differ_are_asked_and_a_changed_mind_is_none(make):
    runtime = make()
    predict(runtime, *[(f"p-{n}", text, ALARM, 0.9) for n, text in enumerate("aabbcd")])
    rate(runtime, ("p-0", "u-1", ALARM), ("p-1", "u-2", TIMER))  # a: two raters differ
    rate(runtime, ("p-2", "u-1", ALARM), ("p-3", "u-2", ALARM))  # b: they agree
    rate(runtime, ("p-4", "u-1", ALARM), ("p-4", "u-3", PLAY))  # c: on one prediction
    rate(
        runtime, ("p-5", "u-1", ALARM), *[("p-5", f"v-{n}", TIMER) for n in range(4)]
    )  # d: settled
    (a, c) = items(runtime, kind="conflict")
    assert ((a.text, a.said), (c.text, c.said)) == (
        ("a", (ALARM, TIMER)),
        ("c", (ALARM, PLAY)),
    )


def test_what_curation_refused_as_conflicting_is_asked(make):
    runtime = make()
    seed_runtime(runtime)
    turn_once(runtime)
    predict(runtime, ("p-1", "Egg, please", ALARM, 0.9), ("p-2", "egg please", ALARM, 0.9))
    rate(runtime, ("p-1", "u", ALARM), ("p-2", "u", TIMER))
    assert texts(runtime, kind="conflict") == []  # two texts, as far as the tables know
    view = views.turn_view(runtime, turn_once(runtime))
    assert view["refused"]["conflict"] == 2
    (item,) = items(runtime, kind="conflict")
    say(runtime, item.id, TIMER)
    settle(runtime)
    assert texts(runtime, kind="conflict") == []
    with runtime.store.read() as con:
        (kept,) = [one for one in samples.training(con) if one.origin == "person"]
    assert (kept.text, kept.intent) == (item.text, TIMER)


# For the gates


@pytest.fixture(scope="module")
def folder_of_held(tmp_path_factory):
    """A runtime at rest whose challenger is held until labels decide about it; made once."""
    folder = tmp_path_factory.mktemp("held")
    runtime = runtime_with(folder)
    seed_runtime(runtime, golden=4)
    turn_once(runtime)
    produce_failures(runtime)
    turn_id = turn_once(runtime)
    wanted = views.turn_view(runtime, turn_id)["labels_wanted"]
    assert wanted
    runtime.store.close()
    return folder, turn_id, wanted


@pytest.fixture
def held(folder_of_held, tmp_path, make):
    folder, turn_id, wanted = folder_of_held
    shutil.copytree(folder, tmp_path, symlinks=True, dirs_exist_ok=True)
    return make(), turn_id, wanted


def traffic(runtime, wanted, per_intent=60):
    """Unlabelled predictions; every tenth is really of another intent."""
    rows = []
    for intent in wanted:
        words = WORDS[intent]
        rows += [
            (f"t-{intent}-{n}", f"{words[n % 6]} live{intent}{n} more{n}", intent, 0.9)
            for n in range(per_intent)
        ]
    predict(runtime, *rows)
    return {text: intent for _, text, intent, _ in rows}


def test_texts_for_the_gates_are_unlabelled_traffic_in_an_order_that_tells_nothing(held):
    runtime, _, wanted = held
    truth = traffic(runtime, wanted)
    near = [(f"n-{n}", f"{text}!", intent, 0.9) for n, (text, intent) in enumerate(truth.items())]
    predict(runtime, *near)  # near-duplicates of the traffic itself
    known = f"{WORDS[ALARM][0]} seed"
    predict(runtime, ("x-1", known, ALARM, 0.9), ("x-2", known.title() + "?", ALARM, 0.9))
    found = items(runtime, kind="gate")
    assert all(not item.guesses and not item.said for item in found)
    assert not any("seed" in item.text.lower() for item in found)
    plain = [item.text.rstrip("!") for item in found]
    assert len(plain) == len(set(plain)) >= sum(wanted.values())
    intents = [truth[text] for text in plain]
    if len(set(intents)) > 1:  # mixed by lot, not one intent after another
        changes = sum(a != b for a, b in itertools.pairwise(intents))
        assert changes > len(set(intents))


def test_labels_for_the_gates_decide_the_held_challenger_as_they_come_in(held):
    runtime, turn_id, wanted = held
    truth = traffic(runtime, wanted)
    summary, found = asked(runtime, ANN)
    assert summary["wanted"] == sum(wanted.values())
    settled = None
    for item in found:
        told = say(runtime, item.id, truth[item.text])
        if told["settled"]:
            settled = told["settled"]
            break
    assert settled is not None
    assert settled["golden"] >= sum(wanted.values())
    assert settled["judging"] == 1
    assert asked(runtime, ANN)[0]["wanted"] == 0
    run_until_idle(runtime)
    with runtime.store.read() as con:
        turn = turns.get(con, turn_id)
        bought = [row.sample for row in samples.golden(con) if row.bought]
    assert turn.record.asked == {
        intent: sum(one.intent == intent for one in bought) for intent in turn.record.asked
    }
    assert len(bought) == settled["golden"]
    assert {one.provenance["rater"] for one in bought} == {ANN}
    decision = views.decision_view(runtime, turn.decision)
    assert (decision["verdict"], decision["status"]) == ("promote", "applied")


def test_a_label_that_turns_out_to_be_another_intent_counts_for_that_one(held):
    runtime, _, wanted = held
    traffic(runtime, wanted)
    first = next(iter(wanted))
    before = asked(runtime, ANN)[0]["wanted"]
    other = next((name for name in wanted if name != first), None)
    item = next(i for i in items(runtime, kind="gate") if i.prediction.startswith(f"t-{first}-"))
    say(runtime, item.id, other or "none")
    assert asked(runtime, ANN)[0]["wanted"] == before - bool(other)
    settle(runtime)
    with runtime.store.read() as con:
        (made,) = [row for row in samples.golden(con) if row.bought]
    assert (made.sample.intent, made.bought) == (other or "none", True)


def test_few_labels_are_judged_when_their_giver_is_done_or_has_gone(held):
    runtime, turn_id, wanted = held
    truth = traffic(runtime, wanted)
    item = items(runtime, kind="gate")[0]
    say(runtime, item.id, truth[item.text])
    settle(runtime, quiet=True)
    assert views.turn_view(runtime, turn_id)["state"] == "held"  # it was just said
    later = dataclasses.replace(runtime, clock=lambda: NOW + timedelta(minutes=11))
    settle(later, quiet=True)
    assert views.turn_view(runtime, turn_id)["state"] == "evaluate"


def test_a_label_that_came_in_while_the_challenger_was_judged_is_judged_next(held):
    runtime, turn_id, wanted = held
    truth = traffic(runtime, wanted)
    first, second, *_ = items(runtime, kind="gate")
    say(runtime, first.id, truth[first.text])
    settle(runtime)
    step = views.turn_view(runtime, turn_id)["state"]
    assert step == "evaluate"
    give_many(runtime, ANN, [LabelAnswer(item=second.id, intent=truth[second.text])])
    run_until_idle(runtime)
    expire(runtime)
    run_until_idle(runtime)
    with runtime.store.read() as con:
        assert sum(turns.get(con, turn_id).record.asked.values()) == 2


def test_a_text_that_was_trained_on_meanwhile_is_no_evidence(held):
    runtime, _, wanted = held
    truth = traffic(runtime, wanted)
    item = items(runtime, kind="gate")[0]
    say(runtime, item.id, truth[item.text])
    add_samples(runtime, [sample(item.text.upper(), truth[item.text], "train")], by="ana")
    assert settle(runtime)["unfit"] == 1
    with runtime.store.read() as con:
        assert not any(row.bought for row in samples.golden(con))


# What answers become


def test_audit_labels_are_an_experts_feedback_and_an_unbiased_figure(make):
    runtime = make(audit=1.0)
    predict(runtime, *[(f"p-{n}", f"text {n}", ALARM, 0.9) for n in range(20)])
    rate(runtime, *[(f"p-{n}", "u", TIMER) for n in range(5)])  # only the angry ones speak
    for item in items(runtime, kind="audit"):
        say(runtime, item.id, TIMER if item.prediction in ("p-1", "p-2") else ALARM)
    assert settle(runtime)["feedback"] == 20
    told = views.status(runtime, uptime_s=0, next_turn=None)["audit"]
    assert (told["n"], told["errors"], told["accuracy"]) == (20, 2, 0.9)
    assert 0.69 < told["low"] < 0.71
    assert 0.97 < told["high"] < 0.98
    line = next(row for row in views.intents(runtime) if row["intent"] == ALARM)["audit"]
    assert (line["n"], line["errors"]) == (20, 2)
    with runtime.store.read() as con:
        said = {row.prediction_id: row for row in health.labelled_texts(con, ())}
    assert {row.rater_kind for row in said.values()} == {"expert"}
    assert (said["p-3"].intent, said["p-3"].arguments) == (ALARM, None)
    assert settle(runtime) == dict.fromkeys(settle(runtime), 0)  # once


def test_what_is_skipped_or_disputed_is_told_beside_the_figure(make):
    runtime = make(audit=1.0, second_opinion=1.0)
    predict(runtime, *[(f"p-{n}", f"text {n}", ALARM, 0.9) for n in range(3)])
    say(runtime, "audit:p-0", None)
    say(runtime, "audit:p-1", ALARM)
    say(runtime, "audit:p-2", ALARM)
    say(runtime, "audit:p-2", TIMER, BO)
    told = views.status(runtime, uptime_s=0, next_turn=None)["audit"]
    assert (told["n"], told["skipped"], told["disputed"]) == (1, 1, 1)


def test_an_old_audit_is_not_in_the_figure(make):
    runtime = make(audit=1.0)
    predict(runtime, ("old", "old text", ALARM, 0.9), ago=timedelta(days=20))
    say(runtime, "audit:old", TIMER)
    predict(runtime, ("new", "new text", ALARM, 0.9))
    assert views.status(runtime, uptime_s=0, next_turn=None)["audit"]["n"] == 1
    predict(runtime, ("newer", "newer", ALARM, 0.9), ago=timedelta(days=-15))
    late = dataclasses.replace(runtime, clock=lambda: NOW + timedelta(days=15))
    assert views.status(late, uptime_s=0, next_turn=None)["audit"]["n"] == 0


def test_a_person_outvotes_the_raters_of_a_conflict(make):
    runtime = make()
    seed_runtime(runtime)
    predict(runtime, *[(f"p-{n}", "oven dawn", ALARM, 0.9) for n in range(9)])
    rate(runtime, *[(f"p-{n}", f"u-{n}", TIMER if n > 3 else ALARM) for n in range(9)])
    (item,) = items(runtime, kind="conflict")
    assert item.said == (TIMER, ALARM)
    say(runtime, item.id, ALARM)
    assert settle(runtime)["train"] == 1
    step = curate(runtime, open_turn(runtime))
    assert step.outputs(TurnRecord()).refused["outvoted"] == 5
    with runtime.store.read() as con:
        kept = [one for one in samples.training(con) if one.text == "oven dawn"]
    assert [(one.intent, one.origin) for one in kept] == [(ALARM, "person")]


def open_turn(runtime):
    with runtime.store.write() as con:
        return turns.open_turn(con, "hand", NOW, "curate")


# Taking back, and other people


def test_an_answer_is_kept_when_it_is_given_and_can_be_taken_back(make):
    runtime = make(uncertain=1.0)
    predict(runtime, ("p-1", "one", ALARM, 0.1), ("p-2", "two", ALARM, 0.2))
    say(runtime, "uncertain:p-1", ALARM)
    say(runtime, "uncertain:p-2", None)
    assert texts(runtime) == []
    assert undo(runtime, ANN)["was"] is None
    assert undo(runtime, ANN) == {
        "item": "uncertain:p-1",
        "was": ALARM,
        "asked": {
            "item": "uncertain:p-1",
            "kind": "uncertain",
            "text": "one",
            "guesses": [ALARM],
            "said": [],
            "again": False,
        },
    }
    assert texts(runtime) == ["one", "two"]
    with pytest.raises(NotFound, match="no answer to take back"):
        undo(runtime, ANN)
    assert settle(runtime)["train"] == 0


def test_a_gates_label_taken_back_after_it_took_effect_is_set_aside(held):
    runtime, _, wanted = held
    truth = traffic(runtime, wanted)
    item = items(runtime, kind="gate")[0]
    say(runtime, item.id, truth[item.text])
    settle(runtime)
    undo(runtime, ANN)
    assert settle(runtime)["withdrawn"] == 1
    with runtime.store.read() as con:
        (doubted,) = golden_set.disputed_samples(con)
    say(runtime, item.id, truth[item.text])
    settle(runtime)
    with runtime.store.read() as con:
        assert golden_set.disputed_samples(con) == ()
        assert doubted in {row.sample.id for row in samples.golden(con)}


def test_a_text_that_no_gate_asks_about_judges_nobody(make):
    runtime = make()
    predict(runtime, ("chosen", "text of mine", ALARM, 0.9))
    with pytest.raises(NotFound, match="nobody is asked about gate:chosen"):
        say(runtime, "gate:chosen", ALARM)


def test_an_event_under_the_id_of_a_label_does_not_keep_the_label_out(make):
    runtime = make(audit=1.0)
    predict(runtime, ("p-1", "wake me", TIMER, 0.9))
    forged = [
        Feedback(
            id=f"audit:p-1@{n}",
            prediction_id="p-1",
            ts=NOW - timedelta(hours=1),
            verdict="corrected",
            intent=PLAY,
            rater=ANN,
            rater_kind="expert",
        )
        for n in range(20)
    ]
    with runtime.store.write() as con:
        events.add_feedback(con, forged)
    say(runtime, "audit:p-1", ALARM)
    assert settle(runtime)["feedback"] == 1
    with runtime.store.read() as con:
        (row,) = health.labelled_texts(con, ())
    assert (row.intent, row.rater_kind) == (ALARM, "expert")


@pytest.mark.parametrize("rater", [ANN, "u-7"])
def test_a_later_event_under_any_name_does_not_displace_what_the_queue_was_told(make, rater):
    runtime = make(audit=1.0)
    predict(runtime, ("p-1", "wake me", TIMER, 0.9))
    say(runtime, "audit:p-1", ALARM)
    settle(runtime)
    forged = Feedback(
        id="later",
        prediction_id="p-1",
        ts=NOW + timedelta(minutes=1),
        verdict="corrected",
        intent=PLAY,
        rater=rater,
    )
    with runtime.store.write() as con:
        events.add_feedback(con, [forged])
    fresh = GatesTable(fresh=FreshRule(required=True, min_examples=5))
    runtime.config = dataclasses.replace(runtime.config, gates=fresh)
    with runtime.store.write() as con:
        assert set_aside(runtime, con) == 1
        assert [sample.intent for sample in samples.fresh(con)] == [ALARM]


def test_a_gates_label_on_which_a_second_person_differs_judges_nothing_until_it_is_settled(held):
    runtime, _, wanted = held
    table = LabellingTable(first=0, audit=0.0, uncertain=0.0, second_opinion=1.0)
    runtime = dataclasses.replace(
        runtime, config=dataclasses.replace(runtime.config, labelling=table)
    )
    truth = traffic(runtime, wanted)
    item = items(runtime, kind="gate")[0]
    say(runtime, item.id, truth[item.text])
    settle(runtime)
    assert item.id in {each.id for each in items(runtime, BO, "gate")}
    assert say(runtime, item.id, "none", BO)["settled"]["withdrawn"] == 1
    (disputed,) = items(runtime, ANN, "conflict")
    assert (disputed.id, disputed.guesses) == (item.id, ())
    assert say(runtime, item.id, "none", ANN)["settled"]["golden"] == 1
    with runtime.store.read() as con:
        away = golden_set.disputed_samples(con)
        judging = [
            row.sample for row in samples.golden(con) if row.bought and row.sample.id not in away
        ]
    assert [(one.text, one.intent) for one in judging] == [(item.text, "none")]


def test_a_label_of_an_intent_that_is_gone_waits(make):
    runtime = make(uncertain=1.0)
    predict(runtime, ("p-1", "one", ALARM, 0.1))
    say(runtime, "uncertain:p-1", TIMER)
    without = tuple(each for each in runtime.intents if each.name != TIMER)
    assert settle(dataclasses.replace(runtime, intents=without))["train"] == 0
    assert settle(runtime)["train"] == 1


def test_a_resolved_conflict_taken_back_is_no_longer_trained_on(make):
    runtime = make()
    predict(runtime, ("p-1", "a", ALARM, 0.9), ("p-2", "a", ALARM, 0.9))
    rate(runtime, ("p-1", "u", ALARM), ("p-2", "v", TIMER))
    (item,) = items(runtime)
    say(runtime, item.id, ALARM)
    settle(runtime)
    undo(runtime, ANN)
    assert settle(runtime)["withdrawn"] == 1
    with runtime.store.read() as con:
        assert samples.training(con) == []
    assert items(runtime)[0].id == item.id


def test_two_people_who_differ_make_a_conflict_that_a_third_word_settles(make):
    runtime = make(uncertain=1.0, second_opinion=1.0)
    predict(runtime, ("p-1", "one", ALARM, 0.1), ("p-2", "two", ALARM, 0.2))
    for key in ("p-1", "p-2"):
        say(runtime, f"uncertain:{key}", ALARM)
    assert texts(runtime, ANN) == []
    assert [(item.text, item.again) for item in items(runtime, BO)] == [
        ("one", True),
        ("two", True),
    ]
    say(runtime, "uncertain:p-1", ALARM, BO)
    assert (
        say(runtime, "uncertain:p-2", TIMER, BO)["state"] == "kept"
    )  # nobody is told of the other
    told = asked(runtime, ANN)[0]["agreement"]
    assert (told["n"], told["agreed"], told["raw"], told["disputed"]) == (2, 1, 0.5, 1)
    (item,) = items(runtime, ANN)
    assert (item.kind, item.said, item.guesses) == ("conflict", (ALARM, TIMER), ())
    say(runtime, item.id, TIMER, "chen (uid 3)")
    settle(runtime)
    assert items(runtime, ANN) == items(runtime, BO) == []
    with runtime.store.read() as con:
        assert {one.text: one.intent for one in samples.training(con)} == {
            "one": ALARM,
            "two": TIMER,
        }
        assert health.labelled_texts(con, ()) == []  # chosen by doubt, they say nothing of the rest
    assert asked(runtime, ANN)[0]["agreement"]["n"] == 2  # whoever resolved had seen both


def test_one_person_by_socket_by_token_and_by_sudo_is_no_second_opinion(make):
    runtime = make(uncertain=1.0, second_opinion=1.0)
    predict(runtime, ("p-1", "one", ALARM, 0.1))
    say(runtime, "uncertain:p-1", ALARM, "ann (uid 1)")
    for again in ("ann (uid 0)", "ann (token lab)"):
        assert items(runtime, again) == []
        assert say(runtime, "uncertain:p-1", ALARM, again)["state"] == "repeated"
    told = asked(runtime, BO)[0]["agreement"]
    assert (told["n"], told["people"]) == (0, 1)
    assert [item.again for item in items(runtime, BO)] == [True]


def test_a_second_answer_that_differs_outdoes_the_first_once_it_is_settled(make):
    runtime = make(audit=1.0, second_opinion=1.0)
    predict(runtime, ("p-1", "one", ALARM, 0.1))
    say(runtime, "audit:p-1", ALARM)
    settle(runtime)
    say(runtime, "audit:p-1", TIMER, BO)
    settle(runtime)
    say(runtime, "audit:p-1", TIMER, ANN)
    later = dataclasses.replace(runtime, clock=lambda: NOW + timedelta(minutes=1))
    assert settle(later)["feedback"] == 1
    with runtime.store.read() as con:
        assert [row.intent for row in health.labelled_texts(con, ())] == [TIMER]


def test_the_same_answer_again_changes_nothing(make):
    runtime = make(audit=1.0)
    predict(runtime, ("p-1", "one", ALARM, 0.1))
    assert say(runtime, "audit:p-1", ALARM)["state"] == "kept"
    assert say(runtime, "audit:p-1", ALARM)["state"] == "repeated"
    with runtime.store.read() as con:
        assert len(labels.standing(con)) == 1


@pytest.mark.parametrize(
    ("item", "intent", "error"),
    [
        ("audit:p-9", ALARM, NotFound),
        ("audit", ALARM, NotFound),
        ("uncertain:p-1", ALARM, NotFound),  # it is in the audit sample
        ("conflict:t-1", ALARM, NotFound),
        ("audit:p-1", "set_alarms", Refused),
        ("audit:p-1", "", Refused),
    ],
)
def test_what_cannot_be_answered_is_refused_and_nothing_is_kept(make, item, intent, error):
    runtime = make(audit=1.0)
    predict(runtime, ("p-1", "one", ALARM, 0.1))
    with pytest.raises(error):
        say(runtime, item, intent)
    with runtime.store.read() as con:
        assert labels.standing(con) == []


def test_the_figure_is_right_where_feedback_is_not_however_little_of_the_sample_is_done(make):
    """Truth .875; who is served wrongly says so five times as often; and half of it is labelled."""
    runtime = make(audit=0.2, uncertain=0.5)
    chance = random.Random(7)
    rows, wrong = [], set()
    for n in range(4_000):
        right = chance.random() < 0.875
        sure = chance.uniform(0.4, 1) if right else chance.uniform(0.2, 0.9)
        rows.append((f"p-{n}", f"text number {n}", ALARM, round(sure, 3)))
        wrong |= set() if right else {f"p-{n}"}
    predict(runtime, *rows)
    said = [key for key, *_ in rows if chance.random() < (0.5 if key in wrong else 0.1)]
    rate(runtime, *[(key, "u", TIMER if key in wrong else ALARM) for key in said])
    unsure = items(runtime, kind="uncertain")[:200]
    half = items(runtime, kind="audit")[:400]
    for asked_for in (unsure, half):
        give_many(
            runtime,
            ANN,
            [
                LabelAnswer(item=item.id, intent=TIMER if item.prediction in wrong else ALARM)
                for item in asked_for
            ],
        )
    by_feedback = 1 - len(wrong & set(said)) / len(said)
    told = views.status(runtime, uptime_s=0, next_turn=None)["audit"]
    assert by_feedback < 0.65
    assert told["n"] == 400
    assert told["low"] < 0.875 < told["high"]
    assert told["high"] - told["low"] < 0.07
