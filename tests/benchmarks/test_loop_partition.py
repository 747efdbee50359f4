"""What the loop benchmark deals out, sends and counts."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from partition import Quota, Row, deal, read
from scores import intents_lost, score
from traffic import Load, Pool, Traffic

from flywheel.curation import normalise

NAMES = ("play_music", "set_alarm", "订票")


def rows(count, names=(*NAMES, "none"), mark=""):
    return [Row(f"{name} 第{number}句{mark}", name) for name in names for number in range(count)]


@pytest.fixture
def dealt():
    return deal(rows(100), rows(20, mark="甲"), rows(30, mark="乙"), seed=0)


def test_each_intent_fills_its_roles(dealt):
    count = {role: len(getattr(dealt, role)) for role in ("seeds", "dev", "golden", "test")}
    assert count == {"seeds": 15, "dev": 40, "golden": 120, "test": 120}
    assert {name: len(rows) for name, rows in dealt.traffic.items()} == {
        "play_music": 50,
        "set_alarm": 50,
        "订票": 50,
        "none": 70,
    }
    assert [len(dealt.labels[name]) for name in (*NAMES, "none")] == [10] * 4
    assert [len(dealt.teacher[name]) for name in (*NAMES, "none")] == [15, 15, 15, 0]


@given(st.lists(st.tuples(st.sampled_from("abcdefgh!? "), st.sampled_from(NAMES)), max_size=60))
def test_no_text_is_dealt_twice_however_it_is_spelled(drawn):
    made = [Row(text, name) for text, name in drawn]
    part = deal(made, made[::2], made[::3], seed=1, quota=Quota(seeds=1, dev=1, golden=1, labels=1))
    seen = [
        row for role in (part.seeds, part.dev, part.golden, *part.labels.values()) for row in role
    ]
    seen += [row for role in (part.teacher, part.traffic) for some in role.values() for row in some]
    texts = [normalise(row.text) for row in seen]
    assert len(texts) == len(set(texts))
    assert set(texts) & {normalise(row.text) for row in made[::3]} == set()


def test_the_same_seed_deals_the_same_and_another_does_not(dealt):
    again = deal(rows(100), rows(20, mark="甲"), rows(30, mark="乙"), seed=0)
    other = deal(rows(100), rows(20, mark="甲"), rows(30, mark="乙"), seed=1)
    assert again == dealt
    assert other.seeds != dealt.seeds


def test_fewer_intents_can_be_kept(dealt):
    few = deal(rows(100), (), rows(30, mark="乙"), seed=0, most_intents=2)
    assert len(few.intents) == 2
    assert {row.intent for row in few.test} == {*few.intents, "none"}


def test_a_set_without_val_and_with_oos_is_read(tmp_path):
    line = {"text": "听音乐", "intent": "oos", "domain": "oos"}
    (tmp_path / "train.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    assert read(tmp_path, "train") == [Row("听音乐", "none")]
    assert read(tmp_path, "val") == []


def test_traffic_is_rated_once_a_text_and_repeats_for_its_seed(dealt):
    load = Load(utterances=200, rated=60)
    one, same = Traffic(dealt, load, 3), Traffic(dealt, load, 3)
    rated = []
    for _ in range(3):
        sent = one.utterances()
        assert same.utterances() == sent
        positions = one.rated(sent)
        assert same.rated(sent) == positions
        rated += [sent[position].text for position in positions]
    assert len(rated) == len(set(rated))
    assert "none" in {row.intent for row in sent}


def test_a_tenth_of_the_raters_err_half_of_them_as_the_model_does(dealt):
    tempted, careless = Traffic(dealt, Load(), 0).mistaken(range(600))
    assert (len(tempted), len(careless), len({*tempted, *careless})) == (30, 30, 60)


def test_a_label_is_given_once(dealt):
    pool = Pool(dealt.labels)
    assert (pool.size, len(pool.take({"订票": 7, "unheard_of": 3}))) == (40, 7)
    assert [len(pool.take({"订票": 7})), pool.size] == [3, 30]


def test_scores_are_per_intent_and_the_worst_tenth_is_shown():
    test = [Row(f"{name}{n}", name) for name in "abcdefghij" for n in range(10)]
    test += [Row("beyond", "none"), Row("outside", "none")]
    answers = {row.text: row.intent for row in test} | {f"j{n}": "a" for n in range(5)}
    got = score(test, answers | {"beyond": "a"})
    assert (got.micro, got.macro, got.worst_decile, got.out_of_scope) == (95, 95, 50, 50)


@pytest.mark.parametrize(
    ("losses", "gains", "lost"),
    [(6, 0, False), (7, 0, True), (9, 1, False), (10, 1, True), (0, 9, False)],
)
def test_an_intent_is_lost_only_beyond_doubt_and_by_much(losses, gains, lost):
    test = [Row(f"{n}", "a") for n in range(30)]
    before = {row.text: "a" for row in test} | {f"{n}": "b" for n in range(gains)}
    after = {row.text: "a" for row in test} | {f"{29 - n}": "b" for n in range(losses)}
    assert intents_lost(test, before, after) == (["a"] if lost else [])
