"""Which labels are refused as likely wrong, which count less, and how sure that is."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.config.tables import CurationTable
from flywheel.curation import NoiseScore, believe, mislabelled, most_valuable
from flywheel.records import Sample

TABLE = CurationTable()


def sample(name, origin="feedback", intent="play", rater=""):
    provenance = {"rater": rater, "rater_kind": "user"} if rater else {}
    return Sample(
        id=name, text=f"放首歌 {name}", intent=intent, origin=origin, split="train",
        provenance=provenance,
    )  # fmt: skip


def fits_better(odds, top="stop", intent="play"):
    return NoiseScore(p_label=0.1, top=top if odds > 1 else intent, p_top=0.8, odds=odds)


def ruled(candidates, odds, known=(), table=TABLE):
    scores = {s.id: fits_better(odds[s.id], intent=s.intent) for s in (*candidates, *known)}
    return mislabelled(candidates, known, scores, believe(candidates, {}), table)


def drawn(seed, *, right, wrong, known, hard=0.1):
    """Labels whose odds are drawn: right ones are doubted with chance `hard`, wrong ones always."""
    dice = random.Random(seed)

    def of_right():
        return math.exp(dice.expovariate(1.0)) if dice.random() < hard else 1.0

    good = [sample(f"good-{n}") for n in range(right)]
    bad = [sample(f"bad-{n}") for n in range(wrong)]
    dev = [sample(f"dev-{n}", "seed") for n in range(known)]
    odds = {s.id: of_right() for s in (*good, *dev)}
    odds |= {s.id: math.exp(dice.uniform(0.5, 8)) for s in bad}
    return [*good, *bad], odds, dev


@given(
    st.lists(st.floats(1, 1000), max_size=12),
    st.lists(st.floats(1, 1000), min_size=1, max_size=12),
    st.sampled_from(["seed", "person"]),
)
def test_what_a_person_labelled_is_never_refused_and_nothing_is_lost(known, given_odds, origin):
    vouched = [sample(f"v-{n}", origin) for n in range(len(known))]
    candidates = [*vouched, *(sample(f"c-{n}") for n in range(len(given_odds)))]
    odds = {s.id: value for s, value in zip(candidates, [*known, *given_odds], strict=True)}
    result = ruled(candidates, odds)
    assert {item.sample.origin for item in result.refused} <= {"feedback"}
    assert {s.id: s.weight for s in result.kept if s.origin == origin} == {
        s.id: 1.0 for s in vouched
    }
    names = [s.id for s in result.kept] + [item.sample.id for item in result.refused]
    assert sorted(names) == sorted(s.id for s in candidates)


def test_an_experts_word_and_a_label_of_the_audit_sample_stand():
    told = [sample(f"x-{n}") for n in range(30)]
    expert = [replace_provenance(s, {"rater": "eve", "rater_kind": "expert"}) for s in told[:3]]
    candidates, odds, dev = drawn(6, right=300, wrong=40, known=300)
    odds |= {s.id: 5000.0 for s in told}
    result = ruled([*candidates, *expert, *told[3:]], odds, dev)
    assert {s.id for s in told[3:]} <= {item.sample.id for item in result.refused}
    assert {s.id: s.weight for s in result.kept if s.id in {"x-0", "x-1", "x-2"}} == {
        "x-0": 1.0, "x-1": 1.0, "x-2": 1.0,
    }  # fmt: skip
    assert result.known == 303  # and it tells how hard the set is


def test_where_no_label_is_known_to_be_right_nothing_is_refused_and_people_are_asked():
    candidates, odds, _ = drawn(7, right=300, wrong=60, known=0)
    result = ruled(candidates, odds)
    assert (result.refused, result.doubted, result.precision) == ((), {}, None)
    assert result.kept == tuple(candidates)
    asked = [one for one, _ in most_valuable(result, candidates, candidates, 20)]
    assert len(asked) == 20
    assert {s.id for s in asked} <= result.spared.keys()


def test_an_intent_of_which_no_label_is_known_to_be_right_keeps_its_labels():
    candidates, odds, dev = drawn(8, right=300, wrong=60, known=300)
    new = [sample(f"new-{n}", intent="new") for n in range(10)]
    odds |= {s.id: 900.0 for s in new}
    result = ruled([*candidates, *new], odds, dev)
    assert {item.sample.intent for item in result.refused} == {"play"}
    assert result.spared.keys() == {s.id for s in new}
    assert result.summary()["spared"] == 10
    named = [*dev, sample("d-new", "seed", "new")]
    odds |= {"d-new": 1.0}
    assert "new" in {item.sample.intent for item in ruled([*candidates, *new], odds, named).refused}


@pytest.mark.parametrize("known", [1, 20, 300])
def test_one_right_label_more_than_was_seen_is_expected_so_few_known_ones_refuse_little(known):
    candidates, odds, dev = drawn(9, right=300, wrong=12, known=known, hard=0.02)
    refused = ruled(candidates, odds, dev).refused
    assert len(refused) >= 10 if known == 300 else refused == ()


def test_where_nothing_is_wrong_nothing_is_refused():
    for seed in range(20):
        candidates, odds, dev = drawn(seed, right=200, wrong=0, known=100, hard=0.3)
        assert ruled(candidates, odds, dev).refused == ()


def test_a_label_that_nothing_else_teaches_is_not_judged_and_calibrates_nothing():
    candidates, odds, dev = drawn(10, right=300, wrong=60, known=300)
    lone, known = sample("lone"), sample("known", "seed")
    scores = {s.id: fits_better(odds[s.id]) for s in (*candidates, *dev)}
    scores |= {s.id: replace(fits_better(9e6), taught=False) for s in (lone, known)}
    everyone = [*candidates, lone, known]
    result = mislabelled(everyone, dev, scores, believe(everyone, {}), TABLE)
    assert lone in result.kept
    assert (result.judged, result.known) == (360, 300)
    assert result == replace(
        mislabelled(candidates, dev, scores, believe(candidates, {}), TABLE),
        kept=result.kept,
    )


@pytest.mark.parametrize("intents", [1, 3])
def test_few_intents_and_no_feedback_are_no_trouble(intents):
    seeds = [sample(f"s-{n}", "seed", f"i-{n % intents}") for n in range(intents)]
    odds = {s.id: 1.0 for s in seeds}
    result = ruled(seeds, odds)
    assert (result.kept, result.refused, result.wrong) == (tuple(seeds), (), 0.0)
    one = sample("one", intent="i-0")
    assert ruled([*seeds, one], odds | {"one": 1.0}).kept == (*seeds, one)


@pytest.mark.parametrize("hard", [0.05, 0.3, 0.6])
def test_the_refused_labels_are_as_often_wrong_as_promised_however_hard_the_set_is(hard):
    refused = wrong = 0
    for seed in range(12):
        candidates, odds, dev = drawn(seed, right=300, wrong=40, known=300, hard=hard)
        result = ruled(candidates, odds, dev)
        names = [item.sample.id for item in result.refused]
        refused, wrong = refused + len(names), wrong + sum(n.startswith("bad") for n in names)
    assert wrong >= TABLE.noise_precision * refused
    assert wrong > 12 * 40 / 3  # and many of them are found


def test_the_share_of_wrong_labels_and_the_precision_are_estimated():
    candidates, odds, dev = drawn(1, right=400, wrong=100, known=400)
    result = ruled(candidates, odds, dev)
    names = [item.sample.id for item in result.refused]
    assert result.precision == pytest.approx(
        sum(name.startswith("bad") for name in names) / len(names), abs=0.1
    )
    assert result.wrong == pytest.approx(0.2, abs=0.05)
    assert (result.judged, result.known) == (500, 400)


def test_where_known_labels_are_doubted_as_often_nothing_is_refused():
    candidates, odds, dev = drawn(2, right=300, wrong=0, known=300, hard=0.6)
    assert ruled(candidates, odds, dev).refused == ()


@given(st.floats(0.5, 0.99), st.floats(0.5, 0.99))
def test_a_higher_precision_never_refuses_more(one, other):
    candidates, odds, dev = drawn(3, right=150, wrong=30, known=100, hard=0.3)
    low, high = (
        ruled(candidates, odds, dev, replace(TABLE, noise_precision=value))
        for value in sorted((one, other))
    )
    assert len(high.refused) <= len(low.refused)


def test_a_label_that_is_doubted_and_stays_counts_less_and_says_why():
    candidates, odds, dev = drawn(4, right=200, wrong=40, known=200, hard=0.3)
    result = ruled(candidates, odds, dev)
    lowered = {s.id: s.weight for s in result.kept if s.weight < 1}
    assert lowered == {name: round(1 - d.wrong, 3) for name, d in result.doubted.items()}
    assert all(doubt.wrong >= 0.2 for doubt in result.doubted.values())
    name, doubt = next(iter(result.doubted.items()))
    assert doubt.told() == (
        f"wrong with probability {doubt.wrong:.2f}: stop fits {odds[name]:.0f} times better "
        "(0.80, its label 0.10)"
    )


def test_an_intent_that_is_hard_is_doubted_less_than_an_easy_one_at_the_same_odds():
    dev = [sample(f"h-{n}", "seed", "hard") for n in range(60)]
    dev += [sample(f"e-{n}", "seed", "easy") for n in range(60)]
    odds = {s.id: 9.0 if s.intent == "hard" and n % 2 else 1.0 for n, s in enumerate(dev)}
    candidates = [sample(f"{i}-{n}", intent=i) for i in ("hard", "easy") for n in range(40)]
    odds |= {s.id: 12.0 if n % 40 < 8 else 1.0 for n, s in enumerate(candidates)}
    result = ruled(candidates, odds, dev)
    assert {item.sample.intent for item in result.refused} == {"easy"}


def test_of_an_intent_that_is_doubted_as_a_whole_half_is_left():
    dev = [sample(f"d-{n}", "seed") for n in range(40)]
    candidates = [sample(f"c-{n}") for n in range(20)]
    candidates += [sample(f"o-{n}", intent="other") for n in range(60)]
    odds = {s.id: 1.0 for s in (*dev, *candidates)}
    odds |= {f"c-{n}": 8.0 + n / 10 for n in range(20)}
    everything = ruled(candidates, odds, dev, replace(TABLE, noise_share=1.0))
    half = ruled(candidates, odds, dev)
    assert len(half.refused) <= len(everything.refused)
    sure = [d for d in half.refused_doubts.values() if d.wrong >= 0.95]
    assert len(half.refused) - len(sure) <= 10


def test_a_rater_is_doubted_only_as_far_as_it_is_sure_that_he_errs_more():
    few = [sample(f"a-{n}", rater="u-few") for n in range(3)]
    many = [sample(f"b-{n}", rater="u-many") for n in range(40)]
    usual = [sample(f"c-{n}", rater=f"u-{n % 20}") for n in range(200)]
    scores = {s.id: fits_better(50.0 if s in few[:1] or s in many[:30] else 1.0) for s in
              (*few, *many, *usual)}  # fmt: skip
    believed = believe([*few, *many, *usual], scores)
    assert believed.wrong_of(few[0]) > believed.raters.usual
    assert believed.surely_wrong_of(few[0]) == believed.raters.usual
    assert believed.wrong_of(many[0]) > believed.surely_wrong_of(many[0]) > believed.raters.usual


def test_the_word_of_a_rater_who_is_often_wrong_is_doubted_sooner():
    dev = [sample(f"d-{n}", "seed") for n in range(100)]
    careful = [sample(f"a-{n}", rater=f"u-{n % 9}") for n in range(180)]
    careless = [sample(f"b-{n}", rater="u-bad") for n in range(30)]
    odds = {s.id: 1.0 for s in (*dev, *careful)}
    odds |= {s.id: 90.0 for s in careless[:15]} | {s.id: 2.0 for s in careless[15:]}
    odds |= {s.id: 2.0 for s in careful[:6]}
    odds |= {s.id: 2.0 for s in dev[:9]}
    scores = {name: fits_better(value) for name, value in odds.items()}
    everyone = [*careful, *careless]
    result = mislabelled(everyone, dev, scores, believe(everyone, scores), TABLE)
    refused = {item.sample.id for item in result.refused}
    assert {s.id for s in careless} <= refused
    assert not refused & {s.id for s in careful}


def test_a_teachers_label_that_was_confirmed_blind_takes_more_to_be_doubted():
    dev = [sample(f"d-{n}", "seed") for n in range(50)]
    written = [sample(f"t-{n}", "teacher") for n in range(20)]
    blind = [replace_provenance(s, {"blind": {"intent": "play"}}) for s in written[:2]]
    candidates = [*blind, *written[2:]]
    odds = {s.id: 1.0 for s in (*dev, *candidates)} | {f"t-{n}": 6.0 for n in range(4)}
    wrong = ruled(candidates, odds, dev)
    doubts = {**wrong.doubted, **wrong.refused_doubts}
    assert {"t-2", "t-3"} <= doubts.keys()
    assert all(doubts[name].wrong < doubts["t-2"].wrong for name in doubts.keys() & {"t-0", "t-1"})


def replace_provenance(one, provenance):
    return Sample(
        id=one.id, text=one.text, intent=one.intent, origin=one.origin, split="train",
        provenance=provenance,
    )  # fmt: skip


def test_a_sample_without_a_score_is_kept_as_it_is():
    unscored = sample("x")
    scores = {"y": fits_better(900.0)}
    candidates = [unscored, sample("y"), *(sample(f"z-{n}") for n in range(9))]
    result = mislabelled(candidates, (), scores, believe(candidates, {}), TABLE)
    assert unscored in result.kept


def test_a_person_is_asked_first_about_what_is_least_sure_and_of_the_rarest_intent():
    candidates, odds, dev = drawn(5, right=200, wrong=40, known=200, hard=0.3)
    rare = [sample(f"rare-{n}", intent="rare") for n in range(4)]
    dev += [sample(f"known-{n}", "seed", "rare") for n in range(4)]
    odds |= {s.id: 1.0 for s in dev[-4:]}
    odds |= {s.id: 6.0 if s.id == "rare-0" else 1.0 for s in rare}
    result = ruled([*candidates, *rare], odds, dev)
    learned = [*candidates, *rare]
    asked = most_valuable(result, learned, learned, 5)
    assert len(asked) == 5
    assert asked[0][0].id == "rare-0"
    others = [doubt.wrong * (1 - doubt.wrong) for one, doubt in asked[1:]]
    assert others == sorted(others, reverse=True)
    assert most_valuable(result, learned, learned, 0) == ()
    beside_seeds = [*learned, *(sample(f"s-{n}", "seed", "rare") for n in range(400))]
    assert most_valuable(result, learned, beside_seeds, 5)[0][0].id != "rare-0"
