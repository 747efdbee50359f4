"""When two texts say the same."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.scripts import normalise, parts_of_words, word_set
from tests.fakes.brute_force import similarity

texts = st.text(max_size=30)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("Wake me at SEVEN!", "wake me at seven"),
        ("what's up", "whats up"),
        ("what’s up", "what's up"),
        ("ＷＡＫＥ　ｍｅ", "wake me"),
        ("我要，听音乐。", "我要听音乐"),
        ("Straße", "STRASSE"),
        ("soft\u00adware", "software"),
        ("zero\u200bwidth", "zerowidth"),
        ("cafe\u0301", "café"),
    ],
)
def test_texts_that_say_the_same_are_equal(text, same):
    assert normalise(text) == normalise(same)
    assert similarity(text, same) == 1.0


@given(texts)
def test_a_normal_form_is_its_own_normal_form(text):
    assert normalise(normalise(text)) == normalise(text)


@given(st.text(alphabet=string.printable, max_size=30))
def test_plain_and_full_width_letters_are_one(text):
    wide = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)
    assert normalise(wide) == normalise(text)
    assert word_set(wide) == word_set(text)


@given(texts)
def test_a_text_has_words_exactly_when_its_normal_form_has_signs(text):
    assert bool(word_set(text)) == bool(normalise(text))


@given(texts, texts)
def test_similarity_is_symmetric_and_a_fraction(one, other):
    assert similarity(one, other) == similarity(other, one)
    assert 0 <= similarity(one, other) <= 1


def test_a_script_without_spaces_is_compared_by_pairs_of_characters():
    assert word_set("我要听音乐") == {"我要", "要听", "听音", "音乐"}
    assert word_set("我要 听音乐") == word_set("我要听音乐")
    assert word_set("播放 Jay 的歌") == {"播放", "jay", "的歌"}
    assert word_set("歌") == {"歌"}


def test_punctuation_between_words_parts_them_and_an_apostrophe_does_not():
    assert word_set("hello,world it's") == {"hello", "world", "its"}


def test_emoji_are_signs_and_not_punctuation():
    assert normalise("👍") == "👍"
    assert similarity("👍", "👎") == 0.0


@pytest.mark.parametrize(
    ("one", "other"),
    [("我要听音乐", "我要聽音樂"), ("发财", "發財"), ("后天", "後天")],
)
def test_traditional_and_simplified_texts_are_not_the_same(one, other):
    assert normalise(one) != normalise(other)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("明天７点叫我", {"明天", "7", "点叫", "叫我"}),
        ("ｐｌａｙ　Jay的歌！", {"play", "jay", "的歌"}),
        ("เปิดเพลง", {"เป", "ปิ", "ิด", "ดเ", "เพ", "พล", "ลง"}),
        ("ｶﾀｶﾅ", {"カタ", "タカ", "カナ"}),
        ("노래 틀어줘", {"노래", "틀어줘"}),
    ],
)
def test_words_of_mixed_and_full_width_texts(text, words):
    assert word_set(text) == words


@given(texts)
def test_parts_of_words_hold_every_word(text):
    assert word_set(text) <= parts_of_words(text)
