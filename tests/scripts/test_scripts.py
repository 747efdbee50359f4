"""In which script a text is written, and what that says of its language."""

from __future__ import annotations

import re
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.scripts import UNSPACED, fits, language, script, scripts

# Of Unicode's scripts, by the names of their letters, those written without spaces.
WITHOUT_SPACES = (
    "BOPOMOFO",
    "CJK UNIFIED",
    "HIRAGANA",
    "JAVANESE",
    "KATAKANA",
    "KHMER LETTER",
    "LAO",
    "MYANMAR LETTER",
    "NEW TAI LUE",
    "TAI LE",
    "TAI THAM",
    "TAI VIET",
    "THAI",
    "TIBETAN LETTER",
    "YI SYLLABLE",
)
WITH_SPACES = ("ARABIC", "CYRILLIC", "DEVANAGARI", "GREEK", "HANGUL", "HEBREW", "LATIN", "TAMIL")


def test_the_letters_of_scripts_without_spaces_are_known_and_no_others():
    letters = [chr(code) for code in range(sys.maxunicode) if chr(code).isalpha()]
    unspaced = set(re.findall(f"[{UNSPACED}]", "".join(letters)))
    names = {letter: unicodedata.name(letter, "") for letter in letters}
    assert [c for c in letters if names[c].startswith(WITHOUT_SPACES) and c not in unspaced] == []
    assert [c for c in unspaced if names[c].startswith(WITH_SPACES)] == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("放一首周杰伦的歌", "simplified"),
        ("放一首周杰倫的歌", "traditional"),
        ("放歌", "han"),
        ("陶喆", "han"),
        ("ラジオ", "kana"),
        ("노래 틀어줘", "hangul"),
        ("включи музыку", "cyrillic"),
        ("ｐｌａｙ", "latin"),
        ("７点", "simplified"),
        ("42!", ""),
    ],
)
def test_the_script_of_a_text(text, name):
    assert script(text) == name


@pytest.mark.parametrize(
    ("given_script", "known", "fit"),
    [
        ("simplified", {"traditional"}, False),
        ("simplified", {"han"}, True),
        ("simplified", {"han", "traditional"}, False),
        ("han", {"traditional"}, True),
        ("traditional", {"kana"}, True),
        ("kana", {"simplified"}, False),
        ("latin", {"simplified"}, False),
    ],
)
def test_which_scripts_fit(given_script, known, fit):
    assert fits(given_script, known) is fit


@pytest.mark.parametrize(
    ("texts", "named"),
    [
        (["我要听音乐", "放首歌"], "Chinese in simplified characters"),
        (["我要聽音樂"], "Chinese in traditional characters"),
        (["放歌"], "Chinese"),
        (["播放Taylor Swift的Love Story"], "Chinese"),
        (["音楽をかけて"], "Japanese"),
        (["включи музыку"], "the language of the sentences in Cyrillic letters"),
        (
            ["我要听音乐", "play a song"],
            "Chinese in simplified characters and the language of the sentences in Latin letters",
        ),
        (["play a song", "spiel ein Lied"], ""),
        ([], ""),
    ],
)
def test_the_language_as_far_as_the_script_tells(texts, named):
    assert language(texts) == named


@given(st.text(max_size=30))
def test_the_main_script_is_one_of_the_texts_scripts(text):
    main = script(text)
    assert main in scripts(text) if main else scripts(text) == frozenset()
