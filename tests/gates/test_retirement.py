"""Golden rows are learned by counts and by lot, and never what the margins need."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.config import GatesTable, IntentsRule, OutOfScopeRule, OverallRule, SlicesRule
from flywheel.gates import GoldenRow, judged_enough, shared
from flywheel.metrics import fewest_rows, labels_to_decide, likely_rows
from flywheel.records import NONE, Intent

KNOWN = (Intent(name="play"), Intent(name="call", critical=True))
AUTO = GatesTable(share="auto", retire="auto")
FEWEST, EXPECTED, LIKELY = fewest_rows(0.20), labels_to_decide(1.0, 0.20), likely_rows(0.20)


def rows(count, intent="play", **more):
    return [
        GoldenRow(sample=f"{intent}-{i}", intent=intent, group=f"{intent}-{i}", **more)
        for i in range(count)
    ]


ENOUGH = rows(1_000, "unknown")  # of an intent that gives nothing: for the overall gate alone


def share(golden, table=AUTO, taken=(), beside=ENOUGH):
    return shared([*golden, *beside], KNOWN, table, dict(taken))


@pytest.mark.parametrize(("profile", "needed"), [("strict", 450), ("fast", 250)])
def test_auto_leaves_the_overall_gate_the_rows_without_which_no_two_points_could_pass(
    profile, needed
):
    table = replace(AUTO, overall=OverallRule(profile=profile))
    for spare in (0, 5, 30):
        golden = rows(60)
        beside = rows(needed - 60 + spare, "unknown")
        assert len(share(golden, table, beside=beside)) == spare
    assert len(share(rows(60), replace(table, share=0.5), beside=())) == 30  # a person's number


@pytest.mark.parametrize(
    ("count", "taken"),
    [(0, 0), (FEWEST, 0), (EXPECTED, 0), (EXPECTED + 1, 1), (30, 7), (46, 23), (47, 23), (60, 30)],
)
def test_auto_takes_at_most_half_and_leaves_what_the_margin_needs(count, taken):
    assert len(share(rows(count))) == taken


def test_a_critical_intent_keeps_what_its_own_margin_needs():
    critical = labels_to_decide(1.0, 0.10)
    assert len(share(rows(critical + 7, "call"))) == 7


def test_what_asks_for_nothing_keeps_what_its_own_gate_needs():
    golden = rows(60, NONE)
    assert len(share(golden)) == 30
    guarded = replace(AUTO, out_of_scope=OutOfScopeRule(required=True, margin=0.15))
    assert len(share(golden, guarded)) == 60 - labels_to_decide(1.0, 0.15)


@pytest.mark.parametrize(("number", "taken"), [(0.0, 0), (0.1, 6), (0.5, 30), (1.0, 60 - FEWEST)])
def test_a_number_is_the_share_as_far_as_the_margin_allows_it(number, taken):
    assert len(share(rows(60), replace(AUTO, share=number))) == taken


def test_an_intent_that_is_not_configured_gives_nothing():
    assert share(rows(60, "unknown")) == frozenset()


def test_rows_that_came_in_parts_give_the_same_share_as_at_once():
    golden = rows(60)
    first = share(golden[:40])
    left = [row for row in golden if row.sample not in first]
    second = share(left, taken={"play": len(first)})
    assert len(first) + len(second) == len(share(golden)) == 30


def test_what_was_asked_or_bought_is_no_part_of_the_share():
    assert share(rows(60, asked=True)) == share(rows(60, bought=True)) == frozenset()


def test_a_group_goes_whole_or_stays_whole():
    near = [replace(row, group=f"g{i // 4}") for i, row in enumerate(rows(60))]
    taken = share(near)
    whole = {row.group for row in near if row.sample in taken}
    assert taken == {row.sample for row in near if row.group in whole}
    assert len(taken) == 28  # 7 groups of 4; an eighth would be more than half


def test_a_family_counts_once_and_goes_together():
    family = [
        GoldenRow(sample=f"{i}-{k}", intent="play", group=str(i), family=f"f{i}")
        for i in range(EXPECTED + 2)
        for k in range(3)
    ]
    assert len(share(family)) == 2 * 3


def test_one_row_that_stays_keeps_its_whole_group():
    golden = [replace(row, group="one") for row in rows(10)] + rows(60)[10:]
    marked = [replace(golden[0], stays=True), *golden[1:]]
    assert not share(marked) & {row.sample for row in golden[:10]}


def test_a_group_of_two_intents_leaves_both_what_they_need():
    play, call = rows(60), rows(labels_to_decide(1.0, 0.10), "call")
    mixed = [replace(row, group="both") for row in (play[0], call[0])]
    assert not share([*mixed, *play[1:], *call[1:]]) & {play[0].sample, call[0].sample}


def test_a_slice_with_a_margin_keeps_its_rows_too():
    voice = [replace(row, slices=("channel=voice",)) for row in rows(60)[:EXPECTED]]
    table = replace(AUTO, slices=SlicesRule(margins={"channel=voice": 0.20}))
    taken = share([*voice, *rows(60)[EXPECTED:]], table)
    assert len(taken) == 30
    assert not taken & {row.sample for row in voice}


@given(st.permutations(range(60)))
def test_the_order_of_the_rows_chooses_nothing(order):
    golden = rows(60)
    assert share([golden[i] for i in order]) == share(golden)


# Rows that have judged.


def enough(golden, **table):
    return judged_enough(golden, KNOWN, replace(AUTO, **table))


def test_a_row_retires_after_so_many_queries_and_not_before():
    golden = rows(LIKELY + 5, answered=9)
    assert enough(golden) == frozenset()
    assert len(enough([replace(row, answered=10) for row in golden])) == 5
    assert len(enough(golden, retire_after=9)) == 5


def test_off_retires_nothing():
    assert enough(rows(200, answered=30), retire="off") == frozenset()


def test_what_decides_by_itself_stays():
    assert enough(rows(LIKELY, answered=30)) == frozenset()


def test_bought_labels_go_first_and_once_they_have_judged():
    sealed = rows(LIKELY, answered=30)
    bought = [
        GoldenRow(sample=f"b{i}", intent="play", group=f"b{i}", bought=True, answered=i % 2)
        for i in range(10)
    ]
    taken = enough([*sealed, *bought])
    assert {name for name in taken if name[0] == "b"} == {"b1", "b3", "b5", "b7", "b9"}
    assert len(taken) == 10


def test_pools_keep_their_rare_intents_whole():
    tail = rows(8, answered=30)
    assert enough(tail) == share(tail) == frozenset()


def test_a_wider_margin_needs_fewer_rows():
    table = replace(AUTO, intents=IntentsRule(margin=0.30))
    assert len(share(rows(30), table)) == 15
    assert len(share(rows(20), table)) == 20 - labels_to_decide(1.0, 0.30)
