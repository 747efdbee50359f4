"""Which scripts a text, a language and a piece of a vocabulary need."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packed import PIECES, SCORES, packed
from tokenizers import Tokenizer

from flywheel.bases import catalogue, conversion, packed_e5, unicode_scripts
from flywheel.errors import FlywheelError


def tokenizer(*kept):
    source = packed_e5.read(packed())
    numbers = conversion._kept(source, kept)
    numbers = range(len(PIECES)) if numbers is None else numbers
    pieces, scores = [PIECES[n] for n in numbers], [float(SCORES[n]) for n in numbers]
    return Tokenizer.from_str(json.dumps(conversion._tokenizer(pieces, scores)))


WHOLE, CUT = tokenizer(), tokenizer("han", "latin")


@given(st.text("ab1,!é歌听 q銀Ａ１"))
@settings(max_examples=200)
def test_a_text_in_the_kept_scripts_is_read_as_by_the_whole_vocabulary(text):
    assert CUT.encode(text).tokens == WHOLE.encode(text).tokens


def test_a_text_in_another_script_is_not():
    assert WHOLE.encode("жa").tokens != CUT.encode("жa").tokens


@given(st.text())
def test_every_letter_of_a_text_is_counted_once_or_shared_by_scripts(text):
    found = unicode_scripts.of_texts([text])
    assert 0 <= found.total() <= sum(sign.isalpha() for sign in text)
    assert all(count > 0 for count in found.values())


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (["我要听音乐", "放一首 Jay 的歌"], ("han", "latin")),
        (["wake me at seven"], ("latin",)),
        (["音楽をかけて", "ラジオ"], ("han", "hiragana", "katakana", "latin")),
        (["включи музыку"], ("cyrillic", "latin")),
        ([], ("latin",)),
    ],
)
def test_texts_need_their_scripts_and_latin(texts, wanted):
    assert unicode_scripts.needed(texts) == wanted


def test_a_script_of_one_letter_in_a_hundred_does_not_count():
    assert unicode_scripts.needed(["a" * 200 + "ж"]) == ("latin",)


def test_every_language_has_scripts_that_unicode_knows():
    for language in unicode_scripts.languages():
        assert unicode_scripts.covered(
            ["▁", "🙂"], unicode_scripts.of_language(language) or ("latin",)
        ) == [0, 1]


def test_an_unknown_language_and_script_are_refused():
    with pytest.raises(FlywheelError, match="no scripts are known for the language 'tlh'"):
        unicode_scripts.of_language("tlh")
    with pytest.raises(FlywheelError, match="Unicode has no script 'klingon'"):
        unicode_scripts.covered([], ["klingon"])


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("multilingual-e5-small", "multilingual-e5-small"),
        ("multilingual-e5-small-latin-han", "multilingual-e5-small-han-latin"),
        ("bundled:all-minilm-l6-v2", "all-minilm-l6-v2"),
        ("all-minilm-l6-v2", "all-minilm-l6-v2"),
    ],
)
def test_a_name_of_the_catalogue_means_one_choice(name, found):
    assert catalogue.named(name).name == found


@pytest.mark.parametrize(
    "name", ["intfloat/multilingual-e5-small", "multilingual-e5-small-../x", "", "bert", "./x",
             "multilingual-e5-smaller"]
)  # fmt: skip
def test_other_names_are_no_named_bases(name):
    assert catalogue.chosen(name) is None


def test_a_base_that_cannot_be_cut_says_so():
    with pytest.raises(FlywheelError, match="its vocabulary cannot be cut"):
        catalogue.named("all-minilm-l6-v2", ["latin"])
