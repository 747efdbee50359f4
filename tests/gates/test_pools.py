"""Intents too rare to be judged alone are judged together, and nothing about them is overstated."""

from dataclasses import replace

import pytest
from gate_cases import NONE, better, evidence, rows
from hypothesis import given
from hypothesis import strategies as st

from flywheel.config.tables import FreshRule, GatesTable, IntentsRule, OverallRule, PromotionTable
from flywheel.gates import Pool, intents, judge, make_pools
from flywheel.gates.pools import group_line, shared_out
from flywheel.metrics import fewest_more, fewest_rows, likely_rows, loss_e_value, pass_chance
from flywheel.promotion import Situation, decide
from flywheel.records import Intent

RULE = IntentsRule()
OFF = replace(RULE, pools="off")
TAIL = tuple(Intent(name=f"rare{i}") for i in range(10))
HEAD = tuple(Intent(name=f"often{i}") for i in range(3))
ROWS = {intent.name: 4 for intent in TAIL} | {intent.name: 30 for intent in HEAD}
TABLE = GatesTable(fresh=FreshRule(required=False), overall=OverallRule(profile="fast"))


def tail_rows(each=4, losses=0):
    """Rows of the rare intents; the first losses are the first ones' first rows."""
    return [
        row
        for place, intent in enumerate(TAIL)
        for row in rows(each, 1 if place < losses else 0, intent=intent.name)
    ]


def test_only_what_no_luck_could_decide_alone_is_pooled():
    assert fewest_rows(RULE.margin) == 19
    counts = {"a": 18, "b": 17, "c": 19, "d": 2}
    known = tuple(Intent(name=name) for name in counts)
    pooled = {name for pool in make_pools(counts, {}, known, RULE) for name in pool.intents}
    assert pooled == {"a", "b", "d"}
    offered = {"b": 1, "d": 17}  # what traffic has is counted with it
    pooled = {name for pool in make_pools(counts, offered, known, RULE) for name in pool.intents}
    assert pooled == {"a", "b"}


def test_there_are_as_many_pools_as_have_rows_for_nine_in_ten_to_pass():
    (pool,) = make_pools(ROWS, {}, (*TAIL, *HEAD), RULE)
    assert (pool.intents, pool.margin) == (tuple(sorted(i.name for i in TAIL)), 0.20)
    two = make_pools({**ROWS, **{i.name: 8 for i in TAIL}}, {}, (*TAIL, *HEAD), RULE)
    assert [len(pool.intents) for pool in two] == [5, 5]


def test_critical_intents_are_pooled_apart_with_their_own_margin():
    known = tuple(replace(i, critical=i.name in ("rare0", "rare1")) for i in (*TAIL, *HEAD))
    strict, wide = make_pools(ROWS, {}, known, RULE)
    assert (strict.intents, strict.margin) == (("rare0", "rare1"), 0.10)
    assert (len(wide.intents), wide.margin) == (8, 0.20)


def test_where_no_intent_can_be_judged_alone_the_golden_set_is_small_and_nothing_is_pooled():
    assert make_pools(dict.fromkeys(ROWS, 4), {}, (*TAIL, *HEAD), RULE) == ()
    assert make_pools(ROWS, {}, (*TAIL, *HEAD), OFF) == ()


def test_out_of_scope_texts_that_are_few_join_a_pool():
    (pool,) = make_pools({**ROWS, NONE: 5}, {}, (*TAIL, *HEAD), RULE)
    assert NONE in pool.intents


@given(
    st.dictionaries(st.sampled_from([f"i{n}" for n in range(12)]), st.integers(0, 60)),
    st.dictionaries(st.sampled_from([f"i{n}" for n in range(12)]), st.integers(0, 30)),
)
def test_pools_hold_each_rare_intent_once_and_no_other(counts, offered):
    known = tuple(Intent(name=f"i{n}") for n in range(12))
    pools = make_pools(counts, offered, known, RULE)
    members = [name for pool in pools for name in pool.intents]
    assert len(members) == len(set(members))
    assert all(counts.get(name, 0) + offered.get(name, 0) < 19 for name in members)
    assert all(len(pool.intents) > 1 for pool in pools)


def judged(outcomes, pools, known=(*TAIL, *HEAD), **more):
    return intents(outcomes, known, RULE, {}, pools=pools, **more)


def test_a_pool_passes_by_all_its_rows_where_no_intent_inside_could():
    pools = make_pools(ROWS, {}, (*TAIL, *HEAD), RULE)
    head = [row for intent in HEAD for row in rows(30, intent=intent.name)]
    alone = intents([*tail_rows(), *head], (*TAIL, *HEAD), RULE, {})
    assert alone.result.verdict == "INCONCLUSIVE"
    together = judged([*tail_rows(), *head], pools)
    assert together.result.verdict == "PASS"
    assert {line.verdict for line in together.lines} == {"PASS"}
    assert together.pools[0].e_value == pytest.approx(loss_e_value([0.0] * 40, 0.20))
    assert "judged together, for too few rows each: pool 1 (10 intents" in together.result.detail


def test_the_lines_of_intents_that_stand_alone_are_the_same_beside_pools():
    head = [row for intent in HEAD for row in rows(30, 2, intent=intent.name)]
    pools = make_pools(ROWS, {}, (*TAIL, *HEAD), RULE)
    before = {line.intent: line for line in intents(head, (*TAIL, *HEAD), RULE, {}).lines}
    after = {line.intent: line for line in judged([*head, *tail_rows()], pools).lines}
    for intent in HEAD:
        assert after[intent.name] == before[intent.name]


def test_harm_that_an_intents_own_rows_show_fails_it_inside_a_pool():
    pools = (Pool(name="few", intents=("rare0", "rare1"), margin=0.20),)
    outcomes = [*rows(18, 18, intent="rare0"), *rows(18, intent="rare1")]
    found = judged(outcomes, pools, TAIL[:2])
    assert found.result.verdict == "FAIL"
    assert [line.verdict for line in found.lines] == ["FAIL", "FAIL"]  # so does the whole pool


def test_a_pool_without_a_row_of_one_intent_does_not_pass_and_asks_for_one():
    pools = (Pool(name="few", intents=("rare0", "rare1"), margin=0.20),)
    found = judged(rows(60, intent="rare0"), pools, TAIL[:2])
    assert (found.result.verdict, found.pools[0].unseen) == ("INCONCLUSIVE", ("rare1",))
    assert found.labels_wanted == {"rare1": 1}
    assert judged(rows(60, intent="rare0"), pools, TAIL[:2], offered={}).beyond == {"few": 1}


def test_a_missing_answer_inside_a_pool_is_never_a_pass():
    pools = (Pool(name="few", intents=("rare0", "rare1"), margin=0.20),)
    lost = [replace(row, champion_correct=None) for row in rows(1, intent="rare1", family="f")]
    found = judged([*rows(60, intent="rare0"), *rows(20, intent="rare1"), *lost], pools, TAIL[:2])
    assert found.result.verdict == "INCONCLUSIVE"
    assert found.labels_wanted == {}


def test_labels_of_a_pool_go_to_its_intents_with_the_fewest_rows():
    assert shared_out(4, {"a": 5, "b": 2, "c": 3}, {"a": 9, "b": 9, "c": 9}) == {"b": 3, "c": 1}
    assert shared_out(4, {"a": 5, "b": 2, "c": 3}, {"a": 9, "b": 1}) == {"a": 3, "b": 1}
    assert shared_out(4, {"a": 5}, {}) == {}


@given(
    st.integers(0, 50),
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 20), min_size=1),
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 20)),
)
def test_labels_are_dealt_by_counts_and_never_beyond_what_there_is(needed, counts, room):
    dealt = shared_out(needed, counts, room)
    assert all(count <= room[name] for name, count in dealt.items())
    there = sum(room.get(name, 0) for name in counts)
    assert sum(dealt.values()) == min(needed, there)


def stuck(offered):
    """A better challenger with one intent that has twelve rows and no texts in traffic."""
    outcomes = [*better(100, 20, "often0"), *rows(12, 1, intent="often1")]
    shown = evidence(outcomes, HEAD[:2], offered=offered)
    return judge(shown, TABLE)


def test_what_traffic_cannot_decide_is_said_at_once_with_three_ways_out():
    judgement = stuck({"often0": 500, "often1": 3})
    assert (judgement.verdict, judgement.beyond) == ("INCONCLUSIVE", {"often1": 16})
    situation = Situation(champion="a-1", beyond=judgement.beyond, group=judgement.group)
    ruling = decide(judgement, PromotionTable(), situation)
    assert (ruling.verdict, ruling.person) == ("hold", True)
    assert ruling.because.endswith(
        "traffic has too few texts to decide it, so a person does: import golden rows (16 of "
        "often1), or approve it this time with that unproven, or judge them together from now on "
        'by `[gates.intents] groups = { often0 = "few", often1 = "few" }`'
    )


def test_what_traffic_can_decide_waits_for_its_labels():
    judgement = stuck({"often0": 500, "often1": 40})
    assert (judgement.beyond, judgement.group) == ({}, "")
    assert judgement.labels_wanted == {"often1": 19}
    assert not decide(judgement, PromotionTable(), Situation(champion="a-1")).person


def test_the_line_that_is_printed_judges_them_as_one_group(tmp_path):
    from flywheel.config import load

    known = (Intent(name="a b"), Intent(name='"c"'), Intent(name="often"))
    counts = {"a b": 3, '"c"': 3, "often": 50}
    line = group_line(["a b", '"c"'], counts, {}, known, RULE)
    table, _, rest = line.partition("] ")
    (tmp_path / "config.toml").write_text(f"{table}]\n{rest}\n", encoding="utf-8")
    rule = load(tmp_path / "config.toml").gates.intents
    (pool,) = make_pools(counts, {}, known, rule)
    assert (pool.name, set(pool.intents)) == ("few", {"a b", '"c"', "often"})


def test_other_groups_of_the_configuration_stay_in_the_line_that_is_printed():
    rule = replace(RULE, groups={"x": "pair", "y": "pair", "a": "few"})
    known = tuple(Intent(name=name) for name in "abcxy")
    line = group_line(["a", "b"], dict.fromkeys("abcxy", 20), {}, known, rule)
    assert line == '[gates.intents] groups = { x = "pair", y = "pair", a = "few", b = "few" }'


def test_golden_rows_of_one_text_and_two_labels_judge_nothing_and_are_named():
    outcomes = [*better(), *rows(1, 1, intent="often1")]
    bad = outcomes[-1].sample
    shown = evidence(outcomes, HEAD[:1], contradicting=((outcomes[0].sample, bad),))
    judgement = judge(shown, TABLE)
    assert judgement.notes[0] == (
        f"golden samples with one text and two labels are set aside: {outcomes[0].sample} and {bad}"
    )
    overall = judgement.gate("overall")
    assert (overall.n, judgement.gate("hygiene").n) == (99, 101)


def test_fresh_rows_judge_single_intents_since_they_are_drawn_by_lot():
    outcomes, fresh = better(), tuple(rows(30, intent="often1", split="fresh"))
    shown = evidence(outcomes, HEAD[:2], fresh=fresh, fresh_judges=True)
    lines = {line.intent: line for line in judge(shown, TABLE).intents}
    assert (lines["often1"].n, lines["often1"].verdict) == (30, "PASS")
    before = {
        line.intent: line for line in judge(replace(shown, fresh_judges=False), TABLE).intents
    }
    assert before["often1"].n == 0


@given(st.lists(st.sampled_from([-1, 0, 1]), max_size=30))
def test_fewest_more_is_the_first_number_of_ties_that_decides(units):
    more = fewest_more([float(x) for x in units], 0.20)
    assert loss_e_value([*units, *[0] * more], 0.20) >= 20
    assert more == 0 or loss_e_value([*units, *[0] * (more - 1)], 0.20) < 20


def test_the_chance_to_pass_is_that_of_drawn_rows():
    import numpy as np

    draws = np.random.default_rng(1).choice([-1, 1, 0], p=[0.04, 0.04, 0.92], size=(4000, 25))
    passed = np.mean([loss_e_value(draw.tolist(), 0.20) >= 20 for draw in draws])
    assert pass_chance(25, 0.20) == pytest.approx(passed, abs=0.025)
    assert likely_rows(0.20) == 40
