"""Whether what a teacher wrote is new, and lies where its intent does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.curation import (
    Alike,
    NoiseScore,
    in_their_neighbourhood,
    of_known_script,
    spread,
    without_paraphrases,
)
from flywheel.records import Sample


def one(number, origin="teacher", intent="play", turn="t-2", text="", **provenance):
    told = {"turn": turn, **provenance} if origin == "teacher" else provenance
    return Sample(
        id=f"{origin}-{number}",
        text=text or f"放首歌 {number}",
        intent=intent,
        origin=origin,
        split="train",
        provenance=told,
    )


def both(first, second, cosine):
    return [
        Alike(id=first.id, other=second.id, cosine=cosine),
        Alike(id=second.id, other=first.id, cosine=cosine),
    ]


def refused(curated):
    return [(refusal.sample.id, refusal.reason) for refusal in curated.refused]


def test_a_paraphrase_of_a_seed_is_refused_and_says_of_which():
    seed, written = one(1, "seed"), one(2)
    curated = without_paraphrases([written, seed], both(written, seed, 0.98)[:1], 0.97, "t-2")
    assert curated.kept == (seed,)
    assert refused(curated) == [("teacher-2", "paraphrase")]
    assert curated.refused[0].detail == "cosine 0.98 to seed-1"


def test_of_two_written_alike_the_one_that_was_learnt_before_stays():
    new, old = one(1, turn="t-2"), one(2, turn="t-1")
    curated = without_paraphrases([new, old], both(new, old, 0.99), 0.97, "t-2")
    assert refused(curated) == [("teacher-1", "paraphrase")]


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.floats(0.85, 1)), max_size=60),
    st.floats(0.94, 1),
)
def test_no_two_that_are_kept_say_the_same_and_each_refused_one_is_near_a_kept_one(links, cosine):
    samples = [one(n, "seed" if n < 2 else "teacher") for n in range(10)]
    pairs = [p for i, j, c in links if i != j for p in both(samples[i], samples[j], c)]
    curated = without_paraphrases(samples, pairs, cosine, "t-2")
    kept = {sample.id for sample in curated.kept}
    near = {(p.id, p.other) for p in pairs if p.cosine >= cosine}
    written = {sample.id for sample in samples[2:]}
    assert not any(i in kept & written and j in kept for i, j in near)
    assert all(
        any((r.sample.id, k) in near for k in kept)
        for r in curated.refused
        if r.reason == "paraphrase"
    )


def test_a_batch_that_says_one_thing_over_and_over_is_thinned():
    batch = [one(n) for n in range(8)]
    pairs = [p for i in range(8) for j in range(i) for p in both(batch[i], batch[j], 0.95)]
    curated = without_paraphrases(batch, pairs, 0.97, "t-2")
    assert [sample.id for sample in curated.kept] == ["teacher-0"]
    assert {reason for _, reason in refused(curated)} == {"collapsed"}
    assert spread(batch, pairs, "t-2") == {"play": pytest.approx(0.05)}
    assert spread(batch, pairs, "t-3") == {}
    varied = without_paraphrases(batch, pairs[:2], 0.97, "t-2")  # one such pair is no collapse
    assert varied.refused == ()
    assert without_paraphrases(batch[:7], pairs, 0.97, "t-2").refused == ()  # too few to tell


def lonely(odds, agree=0.0):
    return NoiseScore(p_label=0.1, top="stop", p_top=0.6, odds=odds, agree=agree)


def test_what_lies_among_other_intents_is_refused_where_nobody_vouched():
    vouched = one(1, blind={"intent": "play"})
    bare = one(2)
    for odds, out in ((1.0, []), (3.0, ["teacher-2"])):
        scores = {vouched.id: lonely(odds), bare.id: lonely(odds)}
        curated = in_their_neighbourhood([vouched, bare], scores)
        assert [name for name, _ in refused(curated)] == out
    near = {bare.id: lonely(99.0, agree=0.1)}
    assert in_their_neighbourhood([bare], near).refused == ()
    seed = one(3, "seed")
    assert in_their_neighbourhood([seed, bare], {seed.id: lonely(99.0)}).refused == ()


SEEDS = [one(n, "seed", text=text) for n, text in enumerate(("play it", "a song", "music on"))]


def test_what_is_written_in_another_script_than_the_intents_texts_is_refused():
    chinese, english = one(1, text="放一首歌 ok"), one(2, text="put on 周杰伦 please")
    curated = of_known_script([*SEEDS, chinese, english], {})
    assert refused(curated) == [("teacher-1", "language")]
    assert curated.refused[0].detail == "written in han; the intent's own texts are in latin"


CHINESE = [
    one(n, "seed", text=text) for n, text in enumerate(("播放这首歌", "听点音乐", "来首周杰伦的"))
]


def test_traditional_characters_are_another_script_than_simplified_ones():
    traditional, neither = one(1, text="播放這首歌"), one(2, text="放歌")
    assert refused(of_known_script([*CHINESE, traditional, neither], {})) == [
        ("teacher-1", "language")
    ]
    asked = one(3, text="聽點音樂", brief="b-1")
    assert of_known_script([*CHINESE, asked], {"b-1": ["來首歌"]}).refused == ()


def test_names_in_latin_letters_stand_in_texts_of_any_script():
    named, english = one(1, text="播放Taylor Swift的Love Story"), one(2, text="play me a song")
    curated = of_known_script([*CHINESE, named, english], {})
    assert refused(curated) == [("teacher-2", "language")]


def test_japanese_may_do_without_kana():
    japanese = [
        one(n, "seed", text=f"{word}をかけて") for n, word in enumerate(("曲", "歌", "音楽"))
    ]
    assert of_known_script([*japanese, one(1, text="音楽再生")], {}).refused == ()


def test_a_script_that_production_brought_is_asked_for():
    chinese = one(1, text="放一首歌", brief="b-1")
    assert of_known_script([*SEEDS, chinese], {"b-1": ["来点音乐"]}).refused == ()
    assert of_known_script([chinese], {}).refused == ()
    thin = one(3, text="тихо", intent="hush")  # an intent without texts: what all have counts
    assert refused(of_known_script([*SEEDS, thin], {})) == [("teacher-3", "language")]
