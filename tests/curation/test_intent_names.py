"""What an intent is called, as a text to learn from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.curation import name_texts, normalise, spoken


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("play_music", "play music"),
        ("setAlarm", "set alarm"),
        ("calendar.events-list", "calendar events list"),
        ("播放音乐", "播放音乐"),
        ("HTTPGet2", "httpget2"),
        ("ВключиМузыку", "включимузыку"),
        ("intent_007", "intent 007"),
        ("संगीत_चलाओ", "संगीत चलाओ"),
        ("เปิดเพลง", "เปิดเพลง"),
        ("அலாரம்-வை", "அலாரம் வை"),
        ("cafe\u0301_order", "café order"),
        ("42", ""),
        ("__", ""),
    ],
)
def test_a_name_is_said_in_words(name, said):
    assert spoken(name) == said


@given(st.text(max_size=30))
def test_what_is_said_of_any_name_is_said_the_same_again(name):
    assert spoken(spoken(name)) == spoken(name)


def texts(intent, count=1):
    return [(f"{intent} text {n}", intent) for n in range(count)]


def test_names_that_are_one_in_words_say_nothing_of_either():
    samples = [*texts("play_music"), *texts("playMusic"), *texts("weather")]
    assert name_texts(samples) == [("weather", "weather")]


def test_a_text_that_has_a_label_is_not_labelled_again_by_a_name():
    samples = [("Play music!", "play_music"), *texts("weather")]
    assert name_texts(samples) == [("weather", "weather")]


def test_an_intent_of_more_than_ten_samples_is_known_by_them():
    samples = [*texts("weather", 10), *texts("play_music", 11), *texts("none")]
    assert name_texts(samples) == [("weather", "weather")]


@given(st.lists(st.tuples(st.text(max_size=12), st.text(max_size=12))))
def test_every_name_has_one_intent_and_is_none_of_the_known_texts(samples):
    named = name_texts(samples)
    said = [normalise(text) for text, _ in named]
    assert len(set(said)) == len(said)
    assert not set(said) & {normalise(text) for text, _ in samples}
    assert {intent for _, intent in named} <= {intent for _, intent in samples}
