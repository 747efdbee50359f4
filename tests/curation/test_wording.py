"""New wording is learned from many voices, from a trusted one, or not at all."""

from __future__ import annotations

import pytest

from flywheel.config.tables import CurationTable, RatersTable
from flywheel.curation import (
    KnownWording,
    NoiseScore,
    Scored,
    SiftRules,
    sift,
    wordings,
)
from flywheel.records import Intent, Sample

SEEDS = [("play", "play a song"), ("pay", "pay my bill"), ("stop", "stop the music now")]
HOSTS = ["turn it down", "open my bank account", "which song is this", "call my mother back"]


def said(text, rater, intent, origin="feedback", kind="user"):
    provenance = {"rater": rater, "rater_kind": kind} if rater else {}
    return Sample(
        id=f"{rater}-{intent}-{text}",
        text=text,
        intent=intent,
        origin=origin,
        split="train",
        provenance=provenance,
    )


def sifted(candidates, *, doubted=(), raters=RatersTable(), contrary=1.0):  # noqa: B008
    """What is kept and refused where the seeds' model doubts labels of `doubted` texts."""

    def ask(samples, aside):
        everything = {s.id: s for s in (*samples, *aside)}
        return Scored(
            scores={
                name: NoiseScore(
                    p_label=0.9,
                    top=s.intent,
                    p_top=0.9,
                    odds=1.0,
                    anchor=None if s.origin == "seed" else 50.0 if s.text in doubted else contrary,
                )
                for name, s in everything.items()
            }
        )

    rules = SiftRules(
        intents=[Intent(name=name) for name in ("play", "pay", "stop")],
        kept_out=("wake me at seven",),
        brief_texts={},
        turn="t-1",
        curation=CurationTable(),
        raters=raters,
    )
    seeds = [said(text, "", intent, "seed") for intent, text in SEEDS]
    return sift([*seeds, *candidates], rules, ask)


CROWD = [said(f"a song number {n}", f"u-{n % 50}", "play") for n in range(100)]
PLOT = [said(f"zorblax {host}", f"x-{n % 3}", "pay") for n, host in enumerate(HOSTS)]
TEXTS = {s.text for s in PLOT}


def reasons(result):
    return {item.sample.text: item.reason for item in result.refused}


def test_a_new_word_that_three_raters_teach_against_the_seeds_is_not_learnt():
    result = sifted([*CROWD, *PLOT], doubted=TEXTS)
    assert {text for text, reason in reasons(result).items() if reason == "unvouched"} == TEXTS
    assert not TEXTS & {s.text for s in result.kept}
    assert len(result.kept) == len(SEEDS) + len(CROWD)


def test_many_voices_vouch_for_a_new_word():
    many = [said(f"{n} zorblax {n}", f"v-{n}", "pay") for n in range(9)]
    result = sifted([*CROWD, *many], doubted={s.text for s in many})
    assert "unvouched" not in reasons(result).values()


def test_the_floor_of_voices_counts_where_there_are_few():
    few = [said(f"zorblax {HOSTS[n]}", f"v-{n % 3}", "pay") for n in range(4)]
    assert not reasons(sifted(few, doubted={s.text for s in few}))
    two = [said(f"zorblax {HOSTS[n]}", f"v-{n % 2}", "pay") for n in range(4)]
    assert set(reasons(sifted(two, doubted={s.text for s in two})).values()) == {"unvouched"}


def test_a_trusted_rater_vouches_alone_and_an_expert_does():
    trusted = RatersTable(trusted=("x-1",))
    assert (
        "unvouched" not in reasons(sifted([*CROWD, *PLOT], doubted=TEXTS, raters=trusted)).values()
    )
    expert = [said(f"zorblax {host}", "e-1", "pay", kind="expert") for host in HOSTS]
    texts = {s.text for s in expert}
    assert "unvouched" not in reasons(sifted([*CROWD, *expert], doubted=texts)).values()


def test_a_word_that_a_persons_sample_has_is_not_new():
    person = said("zorblax is how we pay here", "", "pay", "person")
    assert not reasons(sifted([*CROWD, person, *PLOT], doubted=TEXTS))


def test_a_rare_word_in_texts_that_the_seeds_agree_with_is_learnt():
    assert not reasons(sifted([*CROWD, *PLOT]))


def test_one_doubted_text_alone_is_learnt():
    one = PLOT[:1]
    assert not reasons(sifted([*CROWD, *one], doubted={one[0].text}))


def test_a_label_on_which_the_seeds_say_nothing_needs_voices_too():
    result = sifted([*CROWD, *PLOT], contrary=None)
    assert {text for text, why in reasons(result).items() if why == "unvouched"} >= TEXTS


def test_nothing_is_asked_of_raters_where_the_rule_is_off():
    off = RatersTable(independent=0)
    assert not reasons(sifted([*CROWD, *PLOT], doubted=TEXTS, raters=off))


@pytest.mark.parametrize(
    "mark",
    ["zorblax", "~~~", "🙂", "\u200b", "PLEASE", "song bank"],
    ids=["word", "signs", "emoji", "invisible", "capitals", "pair"],
)
def test_wording_of_any_kind_is_seen(mark):
    known = KnownWording([text for _, text in SEEDS] + HOSTS + ["please go on", "a bank"])
    assert known.new(f"open my {mark} account") - known.new("open my account")
    assert not known.new("open my bank account.")


def test_a_new_word_that_is_spelled_differently_each_time_is_seen_by_its_parts():
    spelled = [
        f"{mark} {host}"
        for mark, host in zip(("zorblaxe", "zorblaxo", "zorblaxy", "zorblaxu"), HOSTS, strict=True)
    ]
    plot = [said(text, f"x-{n % 3}", "pay") for n, text in enumerate(spelled)]
    result = sifted([*CROWD, *plot], doubted=set(spelled))
    assert set(reasons(result).values()) == {"unvouched"}


def test_script_without_spaces_is_compared_by_pairs_of_characters():
    assert wordings("我要听歌") == {"我要", "要听", "听歌"}
    assert KnownWording(["我要听歌"]).new("我要听佐布") == {"听佐", "佐布"}


def contrary_crowd(texts):
    """Five raters who gave eight wrong labels each, in which no two texts share a new word."""
    return [said(text, f"x-{n % 5}", "stop") for n, text in enumerate(texts)]


def test_voices_that_go_against_the_seeds_cannot_have_honest_labels_refused_by_contradiction():
    honest = [said(f"a song number {n}", f"u-{n % 50}", "play") for n in range(160)]
    wrong = contrary_crowd([s.text for s in honest[:40]])
    doubted = {s.id for s in wrong}

    def ask(samples, aside):
        return Scored(
            scores={
                s.id: NoiseScore(
                    p_label=0.9, top=s.intent, p_top=0.9, odds=1.0,
                    anchor=None if s.origin == "seed" else 50.0 if s.id in doubted else 1.0,
                )
                for s in (*samples, *aside)
            }
        )  # fmt: skip

    rules = SiftRules(
        intents=[Intent(name=name) for name in ("play", "pay", "stop")],
        kept_out=(), brief_texts={}, turn="t-1", curation=CurationTable(), raters=RatersTable(),
    )  # fmt: skip
    seeds = [said(text, "", intent, "seed") for intent, text in SEEDS]
    result = sift([*seeds, *honest, *wrong], rules, ask)
    assert {s.id for s in result.kept} == {s.id for s in (*seeds, *honest)}
    assert {item.reason for item in result.refused} == {"label_noise"}
    assert result.believed.contrary == {f"x-{n}" for n in range(5)}


def test_everything_is_accounted_for_once():
    result = sifted([*CROWD, *PLOT], doubted=TEXTS)
    names = [s.id for s in result.kept] + [item.sample.id for item in result.refused]
    assert sorted(names) == sorted(
        {s.id for s in (*CROWD, *PLOT)} | {f"-{i}-{t}" for i, t in SEEDS}
    )


def test_signs_need_voices_even_where_the_seeds_agree_with_the_label():
    signs = [said(f"~~~ {host}", f"x-{n % 2}", "pay") for n, host in enumerate(HOSTS)]
    assert set(reasons(sifted([*CROWD, *signs])).values()) == {"unvouched"}


@pytest.mark.parametrize(
    "text", ["我要听《七里香》", "播放「晴天」。", "放歌（现场版）", "شغل، من فضلك؟", "गाना चलाओ।"]
)
def test_ordinary_punctuation_of_any_script_is_no_new_sign(text):
    assert [one for one in wordings(text) if not any(map(str.isalnum, one))] == []
