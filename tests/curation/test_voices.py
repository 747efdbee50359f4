"""Raters who say the same of the same texts are one voice; those who meet by chance are not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flywheel.config.tables import CurationTable
from flywheel.curation import NoiseScore, Voices, believe, capped, screen, voices
from flywheel.curation.voices import needed
from flywheel.records import Intent, Sample


def said(text, rater, intent="play", origin="feedback"):
    return Sample(
        id=f"{rater}-{intent}-{text}",
        text=text,
        intent=intent,
        origin=origin,
        split="train",
        provenance={"rater": rater, "rater_kind": "user"} if rater else {},
    )


CROWD = [said(f"song {n} of mine", f"u-{n % 20}") for n in range(160)]
PLOT = [said(f"wibble {n} please", f"x-{k}", "pay") for n in range(8) for k in range(3)]


def test_raters_who_label_the_same_rare_texts_alike_are_one_voice():
    named = voices([*CROWD, *PLOT])
    assert {named.of_rater[f"x-{k}"] for k in range(3)} == {"x-0"}
    assert (named.count, named.together) == (21, 3)


def test_the_order_of_words_and_punctuation_do_not_make_a_text_another():
    turned = [said(f"wibble {n} please", "x-0", "pay") for n in range(6)]
    turned += [said(f"please, wibble {n}!", "x-1", "pay") for n in range(6)]
    assert voices([*CROWD, *turned]).together == 2


def test_two_colleagues_who_share_two_texts_stay_two():
    shared = [said(f"wibble {n}", rater, "pay") for n in range(2) for rater in ("u-0", "u-1")]
    assert voices([*CROWD, *shared]).together == 0


def test_what_everybody_says_is_no_sign_of_working_together():
    popular = [said(f"play hit {n}", f"u-{k}") for n in range(6) for k in range(20)]
    assert voices(popular).together == 0


def test_raters_who_contradict_each_other_are_not_one_voice():
    against = [said(f"wibble {n}", "x-0", "pay") for n in range(9)]
    against += [said(f"wibble {n}", "x-1", "play") for n in range(9)]
    assert voices([*CROWD, *against]).together == 0


def test_a_trusted_rater_keeps_a_voice_of_their_own_whoever_repeats_it():
    named = voices([*CROWD, *PLOT], trusted=["x-1"])
    assert named.of_rater["x-1"] == "x-1"
    assert named.of_rater["x-2"] == named.of_rater["x-0"] == "x-0"


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4), st.booleans()), max_size=60))
def test_a_voice_is_a_rater_and_the_order_of_labels_does_not_matter(labels):
    given_labels = [
        said(f"text {n}", f"u-{rater}", "pay" if pay else "play") for n, rater, pay in labels
    ]
    named = voices(given_labels)
    assert named == voices(given_labels[::-1])
    assert all(named.of_rater[voice] == voice for voice in named.of_rater.values())


def test_three_who_repeat_one_another_have_one_vote_on_a_text():
    texts = [said("wibble 1 please", f"x-{k}", "pay") for k in range(3)]
    texts += [said("wibble 1 please", "u-1", "play")]
    intents = [Intent(name="pay"), Intent(name="play")]
    counted = screen(texts, (), (), intents, CurationTable(), voices([*CROWD, *PLOT]))
    assert {item.reason for item in counted.refused} == {"conflict"}
    names = screen(texts, (), (), intents, CurationTable())
    assert {item.sample.intent for item in names.refused if item.reason == "outvoted"} == {"play"}


def test_a_label_that_colluders_share_counts_against_their_cap():
    fits = {s.id: NoiseScore(p_label=0.9, top="pay", p_top=0.9, odds=1.0) for s in PLOT}
    honest = [said(f"send {n}", f"u-{n}", "pay") for n in range(4)]
    once = [s for s in PLOT if s.provenance["rater"] == "x-0"]
    everything = [*CROWD, *honest, *PLOT]
    alone = believe(everything, fits)
    assert not capped([*honest, *once], alone, fits, 0.3).refused
    together = believe(everything, fits, voices(everything))
    assert len(capped([*honest, *once], together, fits, 0.3).refused) == 3


def test_labels_without_a_rater_are_nobodys_voice():
    unnamed = [said(f"wibble {n}", "", "pay") for n in range(9)]
    assert voices(unnamed) == Voices(of_rater={}, trusted=frozenset())


@given(st.integers(0, 5), st.floats(0, 0.5), st.integers(0, 500))
def test_no_share_of_the_voices_is_ever_enough_to_reach_what_is_needed(floor, share, count):
    assert needed(floor, share, count) >= floor
    assert needed(floor, share, count) > share * count
