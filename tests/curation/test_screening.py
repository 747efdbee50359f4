"""Which samples pass: laws over many, and the reason of each refusal."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.config.tables import CurationTable
from flywheel.content import sample_id
from flywheel.curation import leaks, normalise, screen, without_leaks
from flywheel.records import NONE, Intent, Sample
from tests.fakes.brute_force import similarity

TABLE = CurationTable()
INTENTS = (
    Intent(name="play_music"),
    Intent(
        name="set_alarm",
        parameters={"required": ["time"], "properties": {"time": {"type": "string"}}},
    ),
)


def sample(text, intent="play_music", origin="feedback", arguments=None, **provenance):
    return Sample(
        id=sample_id(text, intent, arguments, origin, "train"),
        text=text,
        intent=intent,
        arguments=arguments,
        origin=origin,
        split="train",
        provenance=provenance,
    )


def reasons(curated):
    return [(refusal.sample.text, refusal.reason) for refusal in curated.refused]


words = st.lists(
    st.sampled_from(["play", "some", "music", "now", "please", "我要听音乐", "把歌放"]), max_size=6
)
texts = words.map(" ".join)
samples = st.builds(
    sample,
    texts,
    st.sampled_from(["play_music", "set_alarm", NONE, "gone"]),
    st.sampled_from(["seed", "feedback", "teacher", "person"]),
)
pools = st.lists(samples, max_size=14)


@given(pools, pools, st.lists(texts, max_size=5))
def test_every_candidate_is_either_kept_or_refused_with_a_reason(candidates, kept, held_out):
    curated = screen(candidates, kept, held_out, INTENTS, TABLE)
    judged = [*curated.kept, *(refusal.sample for refusal in curated.refused)]
    assert sorted(s.id for s in judged) == sorted(s.id for s in candidates)
    assert all(refusal.reason and refusal.detail for refusal in curated.refused)


@given(pools, st.lists(texts, max_size=5), st.sampled_from([0.5, 0.8, 1.0]))
def test_nothing_within_the_leak_radius_of_a_held_out_row_passes(candidates, held_out, radius):
    table = CurationTable(leak=radius)
    curated = screen(candidates, (), held_out, INTENTS, table)
    for one in curated.kept:
        for text in held_out:
            assert similarity(one.text, text) < radius
            assert similarity(text, one.text) < radius
    assert not leaks([one.text for one in curated.kept], held_out, radius)


@given(pools, pools, st.lists(texts, max_size=5))
def test_held_out_rows_that_come_later_drive_out_what_was_kept(candidates, kept, held_out):
    first = screen(candidates, kept, (), INTENTS, TABLE)
    later = without_leaks(first.kept, held_out, TABLE.leak)
    assert not leaks([one.text for one in later.kept], held_out, TABLE.leak)
    assert {refusal.reason for refusal in later.refused} <= {"leak"}


@given(pools, pools)
def test_a_kept_text_has_one_label_and_is_there_once(candidates, kept):
    curated = screen(candidates, (), (), INTENTS, TABLE)
    normal = [normalise(one.text) for one in curated.kept]
    assert len(normal) == len(set(normal))


@given(pools)
def test_screening_what_was_kept_keeps_it(candidates):
    curated = screen(candidates, (), (), INTENTS, TABLE)
    assert screen(curated.kept, (), (), INTENTS, TABLE).refused == ()


@given(pools, st.randoms(use_true_random=False))
def test_which_labels_survive_does_not_depend_on_the_order(candidates, chance):
    shuffled = list(candidates)
    chance.shuffle(shuffled)

    def labels(curated):
        return {(normalise(one.text), one.intent) for one in curated.kept}

    table = CurationTable(near_duplicate=1.0)
    first = screen(candidates, (), (), INTENTS, table)
    second = screen(shuffled, (), (), INTENTS, table)
    assert {intent for _, intent in labels(first)} == {intent for _, intent in labels(second)}
    assert len(first.kept) == len(second.kept)


def said(text, intent, rater, kind="user"):
    return sample(text, intent, rater=rater, rater_kind=kind)


def test_a_text_on_which_raters_disagree_is_for_a_person_and_not_for_training():
    curated = screen(
        [
            said("play it", "play_music", "u-1"),
            said("Play it!", "play_music", "u-2"),
            said("play it", NONE, "u-3"),
        ],
        (),
        (),
        INTENTS,
        TABLE,
    )
    assert curated.kept == ()
    assert {reason for _, reason in reasons(curated)} == {"conflict"}
    assert curated.refused[1].detail == "labels of this text: play_music 2, none 1"


def test_three_in_four_settle_a_text_and_one_voter_counts_once():
    agreed = [said("play it", "play_music", f"u-{n}") for n in range(3)]
    curated = screen([*agreed, said("play it", NONE, "u-9")], (), (), INTENTS, TABLE)
    assert {one.intent for one in curated.kept} == {"play_music"}
    assert ("play it", "outvoted") in reasons(curated)
    alone = [said("play it", "play_music", "u-1") for _ in range(9)]
    curated = screen([*alone, said("play it", NONE, "u-9")], (), (), INTENTS, TABLE)
    assert {reason for _, reason in reasons(curated)} == {"conflict"}


def test_an_expert_settles_what_users_disagree_on():
    votes = [said("放首歌", NONE, f"u-{n}") for n in range(5)]
    curated = screen(
        [*votes, said("放首歌", "play_music", "e-1", "expert")], (), (), INTENTS, TABLE
    )
    assert [one.intent for one in curated.kept] == ["play_music"]


@pytest.mark.parametrize("origin", ["seed", "person"])
def test_the_label_a_person_answers_for_outvotes_any_number_of_others(origin):
    others = [sample("放首歌", NONE) for _ in range(5)]
    curated = screen([*others, sample("放首歌", "play_music", origin)], (), (), INTENTS, TABLE)
    assert [(one.text, one.intent) for one in curated.kept] == [("放首歌", "play_music")]
    held = screen(others, [sample("放首歌", "play_music", origin)], (), INTENTS, TABLE)
    assert {reason for _, reason in reasons(held)} == {"outvoted"}


def test_a_near_duplicate_of_another_intent_teaches_the_difference_and_stays():
    near = " ".join(f"word{i}" for i in range(40))
    pair = [sample(f"{near} on", "play_music"), sample(f"{near} off", NONE)]
    assert screen(pair, (), (), INTENTS, TABLE).refused == ()
    same = [sample(f"{near} on"), sample(f"{near} off")]
    curated = screen(same, (), (), INTENTS, TABLE)
    assert reasons(curated) == [(f"{near} off", "near_duplicate")]
    assert curated.refused[0].detail == f"0.95 near {same[0].id}"


def test_of_two_equal_texts_the_one_with_arguments_stays():
    bare = sample("wake me", "set_alarm")
    full = sample("wake me", "set_alarm", arguments={"time": "七点"})
    curated = screen([bare, full], (), (), INTENTS, TABLE)
    assert curated.kept == (full,)
    assert curated.refused[0].detail == f"of {full.id}"


def test_each_refusal_says_which_rule_and_against_what():
    held = sample("play the song", origin="seed")
    curated = screen(
        [
            sample("  "),
            sample("fly away", "fly"),
            sample("wake me", "set_alarm", "teacher", {}),
            sample("wake me up", "set_alarm", "feedback", {"time": 7}),
            sample("turn the music up now"),
            sample("Play the song."),
        ],
        [held],
        ["turn up the music"],
        INTENTS,
        TABLE,
    )
    assert curated.kept == ()
    assert [(refusal.reason, refusal.detail) for refusal in curated.refused] == [
        ("schema", "the text is empty"),
        ("schema", "unknown intent fly"),
        ("schema", "arguments.time is missing"),
        ("schema", 'arguments.time is not of type "string"'),
        ("leak", "0.80 near held-out “turn up the music”"),
        ("duplicate", f"of {held.id}"),
    ]


def test_leaks_name_the_nearest_golden_text_in_an_order_of_their_own():
    training = ["turn the music up now", "我要听音乐！", "something else"]
    golden = ["turn up the music", "turn the music up right now", "我要听音乐"]
    chance = random.Random(1)
    lines = leaks(training, golden, 0.8)
    assert lines == (
        "“turn the music up now” is 0.83 near golden “turn the music up right now”",
        "“我要听音乐！” is 1.00 near golden “我要听音乐”",
    )
    assert leaks(chance.sample(training, 3), chance.sample(golden, 3), 0.8) == lines
