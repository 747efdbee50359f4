"""Writing systems: the script of a text, and its words where a script puts no spaces between them.

Pure. Nothing here changes a text that is kept: what is compared is a normal form (NFKC, folded),
what is learned, served and shown is the text as it came. Languages that share a script are not
distinguished: on utterances of a few words no small detector does that reliably.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import cache, lru_cache

import regex

from flywheel.content import fold

# Scripts that put no space between words: South-East Asian ones that need a dictionary for it
# (line breaking class SA of UAX 14), Tibetan, Yi, kana, Bopomofo, Han.
UNSPACED = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u1b00-\u1b7f"
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303b\u3040-\u30ff"
    "\u3100-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf"
    "\ua980-\ua9ff\uaa60-\uaadf\uf900-\ufaff\uff66-\uff9d\U00011700-\U0001174f"
    "\U0001aff0-\U0001b16f\U00020000-\U0003ffff"
)
"""Characters of scripts without spaces between words, as the inside of a class of `re`."""

_TOKEN = re.compile(rf"[{UNSPACED}](?:\s*[{UNSPACED}])*|[^\s{UNSPACED}]+")
_STARTS_UNSPACED = re.compile(rf"[{UNSPACED}]")
_APOSTROPHES = frozenset("'’‘`´ʼ")
_ASCII_CONTROL = {code: None for code in (*range(32), 127) if not chr(code).isspace()}
_ASCII_PUNCTUATION = [ord(sign) for sign in '!"#%&()*,-./:;?@[\\]_{}']
_ASCII_JOINED: dict[int, str | None] = {**_ASCII_CONTROL, ord("'"): None, ord("`"): None}
_ASCII_DROPPED = {**_ASCII_JOINED, **dict.fromkeys(_ASCII_PUNCTUATION)}
_ASCII_PARTED = {**_ASCII_JOINED, **dict.fromkeys(_ASCII_PUNCTUATION, " ")}


def normalise(text: str) -> str:
    """Return the normal form: NFKC, case-folded, without punctuation and invisible characters,
    single spaces. Traditional characters stay apart from simplified ones.

    >>> normalise("  Wake me -- at SEVEN!")
    'wake me at seven'
    >>> normalise("我要，听音乐。"), normalise("我要聽音樂")
    ('我要听音乐', '我要聽音樂')
    """
    if text.isascii():
        return " ".join(text.lower().translate(_ASCII_DROPPED).split())
    letters = "".join(sign for sign in fold(text) if not _is_punctuation(sign))
    return " ".join(fold(letters).split())


def word_set(text: str) -> frozenset[str]:
    """Return the text's words, case-folded and without punctuation.

    In scripts without spaces, character bigrams stand for words.

    >>> sorted(word_set("Play 我要听"))
    ['play', '我要', '要听']
    """
    if text.isascii():
        return frozenset(text.lower().translate(_ASCII_PARTED).split())
    spaced = "".join(_parted(sign) for sign in fold(text))
    words: set[str] = set()
    for token in _TOKEN.findall(fold(spaced)):
        if _STARTS_UNSPACED.match(token):
            run = "".join(token.split())
            words.update(run[i : i + 2] for i in range(max(1, len(run) - 1)))
        else:
            words.add(token)
    return frozenset(words)


def parts_of_words(text: str) -> frozenset[str]:
    """Return `word_set`, and in scripts without spaces the single characters too.

    For texts that are far from one another. A change of one character takes two bigrams away, so
    that short Chinese sentences of one intent share few of them.

    >>> sorted(parts_of_words("Play 我要"))
    ['play', '我', '我要', '要']
    """
    words = word_set(text)
    return words.union(*(word for word in words if _STARTS_UNSPACED.match(word)))


def _is_punctuation(sign: str) -> bool:
    return sign in _APOSTROPHES or unicodedata.category(sign)[0] == "P" or _is_invisible(sign)


def _is_invisible(sign: str) -> bool:
    """Format and control characters other than white space."""
    return unicodedata.category(sign) in ("Cf", "Cc") and not sign.isspace()


def _parted(sign: str) -> str:
    if sign in _APOSTROPHES or _is_invisible(sign):
        return ""
    return " " if unicodedata.category(sign)[0] == "P" else sign


# Script of a text, by Unicode.

HAN, SIMPLIFIED, TRADITIONAL, KANA = "han", "simplified", "traditional", "kana"
_KANA = ("hiragana", "katakana")
_SHARED = ("common", "inherited")  # such as the mark that makes a Japanese vowel long
_MIN_SHARE = 0.2  # of a text's letters, for a script to count
_AROUND = 0.1  # of a text's letters, for a script around names in Latin letters
CHINESE = "Chinese"
"""What `language` calls texts that tell neither simplified from traditional."""
_LANGUAGES = {
    HAN: CHINESE,
    SIMPLIFIED: "Chinese in simplified characters",
    TRADITIONAL: "Chinese in traditional characters",
    KANA: "Japanese",
    "hangul": "Korean",
    "thai": "Thai",
    "lao": "Lao",
    "khmer": "Khmer",
    "myanmar": "Burmese",
    "greek": "Greek",
    "hebrew": "Hebrew",
    "georgian": "Georgian",
    "armenian": "Armenian",
}
_LATIN = "latin"


def script(text: str) -> str:
    """Return the script of most letters, in lower case; "" for a text without letters.

    Japanese is `kana` wherever it has any, since it writes Han too. Han is `simplified` or
    `traditional` where the text has characters of one of them alone, else `han`.

    >>> script("wake me at seven"), script("放一首周杰伦的歌"), script("音楽をかけて"), script("42")
    ('latin', 'simplified', 'kana', '')
    >>> script("放一首周杰倫的歌"), script("放歌")
    ('traditional', 'han')
    """
    counts = _letters(text)
    return min(counts, key=lambda name: (-counts[name], name), default="")


def around_names(text: str) -> str:
    """Return the script around names in Latin letters, which occur in texts of any script.

    >>> around_names("播放Taylor Swift的Love Story"), around_names("wake me")
    ('han', 'latin')
    """
    others = scripts(text, _AROUND) - {_LATIN}
    main = script(text)
    return min(others) if main == _LATIN and others else main


def scripts(text: str, least: float = _MIN_SHARE) -> frozenset[str]:
    """Return the scripts of at least this share of the letters; a text may mix two.

    >>> sorted(scripts("播放Taylor Swift的歌"))
    ['han', 'latin']
    """
    counts = _letters(text)
    return frozenset(name for name, count in counts.items() if count >= least * counts.total())


def fits(given: str, known: Iterable[str]) -> bool:
    """Whether a text of script `given` is one of `known` scripts.

    Simplified and traditional Chinese are two scripts; what tells neither fits both. Japanese may
    do without kana in a short sentence.

    >>> fits("traditional", {"simplified"}), fits("han", {"simplified"}), fits("han", {"kana"})
    (False, True, True)
    """
    names = set(known)
    if given in names or (given in (HAN, SIMPLIFIED, TRADITIONAL) and KANA in names):
        return True
    if given == HAN:
        return bool(names & {SIMPLIFIED, TRADITIONAL})
    return (
        given in (SIMPLIFIED, TRADITIONAL)
        and HAN in names
        and not (names & {SIMPLIFIED, TRADITIONAL})
    )


def language(texts: Iterable[str]) -> str:
    """Return in which language these texts are, as far as their script says it.

    "" where it is Latin or nothing: there the script says little. Several are joined by "and";
    one of fewer than a fifth of the texts is left out.

    >>> language(["我要听音乐", "放首歌"]), language(["play a song"])
    ('Chinese in simplified characters', '')
    """
    counts = Counter(name for text in texts if (name := around_names(text)))
    if counts[SIMPLIFIED] or counts[TRADITIONAL]:  # what tells neither is of the frequent one
        frequent = max((SIMPLIFIED, TRADITIONAL), key=lambda name: counts[name])
        counts[frequent] += counts.pop(HAN, 0)
    least = _MIN_SHARE * counts.total()
    names = [name for name, count in counts.most_common() if count and count >= least]
    if not set(names) - {_LATIN}:
        return ""
    return " and ".join(
        _LANGUAGES.get(name, f"the language of the sentences in {name.title()} letters")
        for name in names
    )


def _letters(text: str) -> Counter[str]:
    """Letters by script; Han by the characters of its two forms."""
    counts: Counter[str] = Counter()
    forms: Counter[str] = Counter()
    for sign in unicodedata.normalize("NFKC", text):
        name = of_letter(sign) if sign.isalpha() else _SHARED[0]
        if name not in _SHARED:
            counts[KANA if name in _KANA else name] += 1
            if name == HAN:
                forms[_form(sign)] += 1
    if counts[KANA]:
        counts = Counter({KANA: counts.total()})
    elif forms[SIMPLIFIED] != forms[TRADITIONAL]:
        form = max((SIMPLIFIED, TRADITIONAL), key=lambda name: forms[name])
        counts[form] = counts.pop(HAN)
    return +counts


@lru_cache(maxsize=8192)
def of_letter(sign: str) -> str:
    """The script of a character by Unicode, in lower case: `common` for what every script has.

    >>> [of_letter(sign) for sign in "aЖ歌のเ1"]
    ['latin', 'cyrillic', 'han', 'hiragana', 'thai', 'common']
    """
    known = next((name for name in _KNOWN if _pattern_of(name).match(sign)), "")
    return known or unicodedata.name(sign, "unknown").partition(" ")[0].lower()


@cache
def _pattern_of(script: str) -> regex.Pattern[str]:
    return regex.compile(rf"\p{{Script={script}}}")


# The most frequent first: a letter is looked for in one after another.
_KNOWN = (
    "latin", "han", "common", "cyrillic", "arabic", "hiragana", "katakana", "hangul",
    "devanagari", "greek", "hebrew", "thai", "armenian", "georgian", "bengali", "tamil", "telugu",
    "khmer", "lao", "myanmar", "ethiopic", "sinhala", "gujarati", "gurmukhi", "kannada",
    "malayalam", "oriya", "tibetan", "mongolian", "bopomofo", "thaana", "syriac", "inherited",
)  # fmt: skip


# The frequent characters of the two standards of old: what GB 2312 has in its first level and
# Big5 has not is simplified, what Big5 has in its first level and GB 2312 has not is traditional.
# docs/adr/0130-text-of-any-script.md

_GB2312_FREQUENT = range(0xB0, 0xD8)  # lead bytes
_BIG5_FREQUENT = range(0xA4, 0xC7)


@lru_cache(maxsize=8192)
def _form(sign: str) -> str:
    """SIMPLIFIED, TRADITIONAL, or "" for a character of both or of neither."""
    simplified, traditional = _encoded(sign, "gb2312"), _encoded(sign, "big5")
    if simplified and not traditional and simplified[0] in _GB2312_FREQUENT:
        return SIMPLIFIED
    if traditional and not simplified and traditional[0] in _BIG5_FREQUENT:
        return TRADITIONAL
    return ""


def _encoded(sign: str, standard: str) -> bytes:
    try:
        return sign.encode(standard)
    except UnicodeEncodeError:
        return b""
