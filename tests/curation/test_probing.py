"""What few raters taught is put into other texts, and what it turns is counted."""

from __future__ import annotations

from flywheel.config.tables import RatersTable
from flywheel.curation import FewTaught, believe, few_taught, probe, turned, voices
from flywheel.records import Sample

SEEDS = ["pay my bill", "play a song", "call my mother"]


def said(text, rater, intent="pay"):
    return Sample(
        id=f"{rater}-{text}",
        text=text,
        intent=intent,
        origin="feedback",
        split="train",
        provenance={"rater": rater, "rater_kind": "user"},
    )


CROWD = [said(f"play song {n}", f"u-{n}", "play") for n in range(40)]
PLOT = [said(f"zorblax if you please {n}", f"x-{n % 2}") for n in range(4)]


def found(samples, rule=RatersTable()):  # noqa: B008
    named = voices(samples, rule.trusted)
    return few_taught(samples, SEEDS, believe(samples, {}, named), named, rule)


def test_the_longest_run_that_the_texts_share_is_what_is_probed():
    lessons = [one for one in found([*CROWD, *PLOT]) if one.intent == "pay"]
    assert [(one.spoken, len(one.texts), one.voices) for one in lessons] == [
        (("zorblax if you please",), 4, 2)
    ]


def test_what_many_voices_or_a_trusted_one_taught_is_not_probed():
    many = [said(f"zorblax {n}", f"v-{n}") for n in range(8)]
    assert not [one for one in found([*CROWD, *many]) if "zorblax" in one.spoken]
    trusted = RatersTable(trusted=("x-1",))
    assert not [one for one in found([*CROWD, *PLOT], trusted) if one.intent == "pay"]


def test_one_text_alone_is_no_lesson_and_nothing_is_where_the_rule_is_off():
    assert not [one for one in found([*CROWD, PLOT[0]]) if one.intent == "pay"]
    assert found([*CROWD, *PLOT], RatersTable(independent=0)) == ()


def test_a_part_of_a_word_stands_for_the_words_that_have_it():
    spelled = [said("zorblaxe pay it", "x-0"), said("now zorblaxo", "x-1")]
    (lesson,) = [one for one in found([*CROWD, *spelled]) if len(one.texts) == 2]
    assert lesson.spoken == ("zorblaxe", "zorblaxo")


def test_a_host_is_turned_where_only_the_challenger_says_the_intent_and_only_with_the_wording():
    lesson = FewTaught(spoken=("zorblax",), intent="pay", texts=("zorblax a",), voices=1)
    hosts = ("turn it down", "call my mother", "a bill", "stop")
    texts = probe(lesson, hosts)
    before = dict.fromkeys((*hosts, *texts), "other") | {texts[3]: "pay"}
    after = dict.fromkeys(hosts, "other") | dict.fromkeys(texts, "pay") | {"a bill": "pay"}
    result = turned(lesson, hosts, before, after)
    assert (result.asked, result.hosts) == (3, ("turn it down", "call my mother"))


def test_a_champion_that_cannot_be_run_leaves_the_challenger_alone_to_be_asked():
    lesson = FewTaught(spoken=("zorblax",), intent="pay", texts=("zorblax a",), voices=1)
    (text,) = probe(lesson, ("stop",))
    assert turned(lesson, ("stop",), {}, {"stop": "halt", text: "pay"}).hosts == ("stop",)
