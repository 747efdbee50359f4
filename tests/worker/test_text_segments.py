"""Arguments in any script: which parts of a text can be one, and that right tags spell them."""

from itertools import pairwise

import pytest
import regex
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from flywheel.worker.logistic import Linear
from flywheel.worker.models import base
from flywheel.worker.models.encoder import answering, slots
from flywheel.worker.models.encoder.adapter import EncoderAdapter, content_id
from flywheel.worker.models.encoder.frozen_states import AdaptedStates
from flywheel.worker.models.encoder.out_of_scope import ScopeRule
from flywheel.worker.models.encoder.text_segments import segments

SPACED = [
    "Latin", "Greek", "Cyrillic", "Armenian", "Hebrew", "Arabic", "Syriac", "Thaana", "Devanagari",
    "Bengali", "Gurmukhi", "Gujarati", "Oriya", "Tamil", "Telugu", "Kannada", "Malayalam",
    "Sinhala", "Georgian", "Ethiopic", "Cherokee", "Mongolian", "Tifinagh", "Nko",
]  # fmt: skip
UNSPACED = [
    "Han", "Hiragana", "Katakana", "Bopomofo", "Hangul", "Thai", "Lao", "Khmer", "Myanmar",
    "Tai_Le", "New_Tai_Lue", "Tai_Tham", "Tai_Viet", "Javanese", "Balinese", "Yi",
]  # fmt: skip
MARKED = [
    "cafe\u0301", "か\u3099", "กำ", "ｶﾞ", "ｔｆｂｏｙｓ", "１２点", "7pm", "می\u200cخواهم", "ﷺ",
    "\u200fשלום", "👩\u200d👩\u200d👧", "❤\ufe0f", "🇩🇪", "👍🏽", "1\ufe0f\u20e3", "R&B", "。",
    "「", "x\u200by", "㎏",
]  # fmt: skip
BASIC_PLANE = [chr(code) for code in range(0x10000) if not 0xD800 <= code < 0xE000]
BUNDLED = base.open_tokenizer(base.load(base.BUNDLED), 512)


def letters(script):
    pattern = regex.compile(rf"[\p{{L}}&&\p{{Script={script}}}]", regex.VERSION1)
    return [char for char in BASIC_PLANE if pattern.match(char)]


LETTERS = {script: letters(script) for script in SPACED + UNSPACED}
words = st.sampled_from(sorted(LETTERS)).flatmap(
    lambda script: st.text(st.sampled_from(LETTERS[script]), min_size=1, max_size=5)
)
texts = st.lists(
    st.tuples(words | st.sampled_from(MARKED), st.sampled_from(["", " ", "  "])), min_size=1
).map(lambda parts: "".join(part + gap for part, gap in parts))


def metaspace(pieces=()):
    """A tokenizer of XLM-R's form: words end at spaces alone, pieces are the longest of a list."""
    known = {piece: -1.0 / len(piece) for piece in pieces}
    every = [("<unk>", -99.0), ("<s>", -99.0), ("▁", -9.0), *sorted(known.items())]
    made = Tokenizer(models.Unigram(every, unk_id=0, byte_fallback=False))
    made.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A <s>", special_tokens=[("<s>", 1)]
    )
    return made


def pieces_of(text, cuts):
    """Parts of the normalised text between the cuts, and all its characters."""
    whole = metaspace().normalizer.normalize_str(text).replace(" ", "▁")
    edges = sorted({0, len(whole), *(cut % (len(whole) + 1) for cut in cuts)})
    parts = {whole[a:b] for a, b in pairwise(edges)}
    return (parts | set(whole)) - {"", "▁", "<unk>", "<s>"}


@pytest.mark.parametrize("script", UNSPACED)
def test_every_letter_of_a_script_without_spaces_is_a_part(script):
    joined = regex.compile(r"\X")
    text = "".join(LETTERS[script])
    assert len(LETTERS[script]) > 10
    assert segments(text) == [match.span() for match in joined.finditer(text)]


@pytest.mark.parametrize("script", SPACED)
def test_a_word_of_a_script_with_spaces_is_one_part(script):
    word = "".join(LETTERS[script])
    assert len(word) > 10
    text = f"{word}, {word} 12"
    assert [text[a:b] for a, b in segments(text)] == [word, ",", word, "12"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("我要听tfboys的歌", "我|要|听|tfboys|的|歌"),
        ("明天7点ｗｉｆｉ１２。", "明|天|7|点|ｗｉｆｉ１２|。"),
        ("ｶﾞか\u3099ー々〇", "ｶﾞ|か\u3099|ー|々|〇"),
        ("서울에 비", "서|울|에|비"),
        ("naïve cafe\u0301s", "naïve|cafe\u0301s"),
        ("\u200fשלום\u200f בiPhone", "שלום|ב|iPhone"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("👩\u200d👩\u200d👧❤\ufe0f🇩🇪", "👩\u200d👩\u200d👧|❤\ufe0f|🇩🇪"),
        ("john's R&B, 7pm", "john|'|s|R|&|B|,|7pm"),
        (" \ufeff\n", ""),
    ],
)
def test_parts_are_what_a_reader_takes_for_words_or_characters(text, parts):
    assert "|".join(text[a:b] for a, b in segments(text)) == parts


@given(texts, st.lists(st.integers(0, 60), max_size=12), st.booleans(), st.data())
@settings(max_examples=40)
def test_right_tags_spell_the_argument_in_any_script(text, cuts, bundled, data):
    parts = segments(text)
    first = data.draw(st.integers(0, len(parts) - 1))
    last = data.draw(st.integers(first, len(parts) - 1))
    values = {"what": text[parts[first][0] : parts[last][1]]}
    tokenizer = BUNDLED if bundled else metaspace(pieces_of(text, cuts))
    encoding = base.encode(tokenizer, [text])[0]
    low, high = slots.locate(text, values)["what"]
    units = slots.units(encoding, text)
    tags = slots.tags_of(encoding, text, values, ["what"]).tags
    logits = 20.0 * torch.nn.functional.one_hot(tags, 3)
    assert [(unit.start, unit.end) for unit in units] == parts
    assert slots.read(units, text, logits, ["what"], {"what"}) == {"what": text[low:high]}
    assert text[low:high].casefold() == values["what"].casefold()
    assert all(0 < unit.token < len(encoding.ids) - 1 for unit in units)


def test_a_bare_space_token_gives_its_state_to_no_character():
    encoding = metaspace(["听", "歌"]).encode("听歌")
    assert encoding.tokens == ["<s>", "▁", "听", "歌", "<s>"]
    assert [unit.token for unit in slots.units(encoding, "听歌")] == [2, 3]


def test_parts_of_one_token_are_told_apart_by_their_place():
    encoding = metaspace(["今天的", "歌"]).encode("今天的歌")
    units = slots.units(encoding, "今天的歌")
    assert [(unit.token, unit.place) for unit in units] == [(2, 0), (2, 1), (2, 2), (3, 0)]
    states = torch.eye(5)  # (length, width)
    weight = torch.zeros(3, 15)
    weight[1, 2], weight[2, 5 + 2], weight[0, 10 + 2] = 9.0, 19.0, 99.0  # begin, inside, outside
    logits = slots.logits(Linear(weight, torch.tensor([1.0, 0, 0])), states, units)
    assert slots.read(units, "今天的歌", logits, ["date"], {"date"}) == {"date": "今天"}
    together = slots.features(states[[2, 2]], torch.tensor([0, 2]), 15)
    assert torch.equal(together @ weight.T + torch.tensor([1.0, 0, 0]), logits[[0, 2]])


def test_what_was_cut_off_has_no_part():
    tokenizer = metaspace(["听", "歌", "吧"])
    tokenizer.enable_truncation(5)
    assert [unit.end for unit in slots.units(tokenizer.encode("听歌吧吧吧"), "听歌吧吧吧")] == [
        1,
        2,
    ]


@pytest.mark.parametrize("value", ["seven", "cafe"])
def test_a_value_that_cuts_a_part_teaches_no_tags(value):
    text = "sevens cafe\u0301"
    encoding = base.encode(BUNDLED, [text])[0]
    assert slots.locate(text, {"what": value}) is not None
    assert not len(slots.tags_of(encoding, text, {"what": value}, ["what"]).tags)


def adapter_that_tags(tagged):
    return EncoderAdapter(
        base="b", base_sha256="0", tokenizer_sha256="1", max_length=32, depth=0, rank=1, alpha=1,
        labels=["play", "wait"], arguments={"play": ["what"], "wait": []}, slots=["what"],
        scope=ScopeRule("confidence", 0.0), factors={}, tagged=tagged,
        head=Linear(torch.tensor([[1.0, 0, 0], [0.0, 0, 0]]), torch.zeros(2)),
        tag_head=Linear(torch.eye(3), torch.zeros(3)),
    )  # fmt: skip


def test_an_adapter_of_an_earlier_version_keeps_its_id_and_its_answers():
    """Its tags are of the pre-tokenizer's words, whatever those are."""
    text, tokenizer = "play jazz.", metaspace(["▁play", "▁jazz", "."])
    encoding = tokenizer.encode(text)
    assert encoding.tokens == ["<s>", "▁play", "▁jazz", ".", "<s>"]
    states = torch.tensor([[9.0, 0, 0], [9, 0, 0], [0, 9, 0], [9, 0, 0], [9, 0, 0]])
    adapted = AdaptedStates(torch.tensor([[1.0, 0, 0]]), [states])
    answers = {}
    for tagged in ("words", "segments"):
        answers[tagged] = answering.calls(adapter_that_tags(tagged), [text], adapted, [encoding])
    assert answers["words"].arguments == [{"what": " jazz."}]
    assert answers["segments"].arguments == [{"what": "jazz"}]
    assert content_id(adapter_that_tags("words")) == "a-7c9d9e0b29ca"
    assert content_id(adapter_that_tags("segments")) != content_id(adapter_that_tags("words"))
