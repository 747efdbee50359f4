"""Normal form and word set of a text, for exact and near-duplicate comparison."""

from __future__ import annotations

import re
import unicodedata

from flywheel.content import fold

# Scripts that put no space between words: Thai to Myanmar, Khmer, Tai, kana, Han.
_UNSPACED = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf"
    "\u3005-\u3007\u3040-\u30ff\u3100-\u312f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\ua000-\ua48f\uf900-\ufaff\U00020000-\U0003ffff"
)
_TOKEN = re.compile(rf"[{_UNSPACED}](?:\s*[{_UNSPACED}])*|[^\s{_UNSPACED}]+")
_STARTS_UNSPACED = re.compile(rf"[{_UNSPACED}]")
_APOSTROPHES = frozenset("'’‘`´ʼ")
_ASCII_CONTROL = {code: None for code in (*range(32), 127) if not chr(code).isspace()}
_ASCII_PUNCTUATION = [ord(sign) for sign in '!"#%&()*,-./:;?@[\\]_{}']
_ASCII_JOINED: dict[int, str | None] = {**_ASCII_CONTROL, ord("'"): None, ord("`"): None}
_ASCII_DROPPED = {**_ASCII_JOINED, **dict.fromkeys(_ASCII_PUNCTUATION)}
_ASCII_PARTED = {**_ASCII_JOINED, **dict.fromkeys(_ASCII_PUNCTUATION, " ")}


def normalise(text: str) -> str:
    """Return the normal form: NFKC, case-folded, without punctuation and invisible characters,
    single spaces.

    >>> normalise("  Wake me -- at SEVEN!")
    'wake me at seven'
    >>> normalise("我要，听音乐。")
    '我要听音乐'
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


def jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    """Return the Jaccard index of two word sets, 0..1; 0 when both are empty."""
    shared = len(first & second)
    return shared / (len(first) + len(second) - shared) if shared else 0.0


def _is_punctuation(sign: str) -> bool:
    return sign in _APOSTROPHES or unicodedata.category(sign)[0] == "P" or _is_invisible(sign)


def _is_invisible(sign: str) -> bool:
    """Format and control characters other than white space."""
    return unicodedata.category(sign) in ("Cf", "Cc") and not sign.isspace()


def _parted(sign: str) -> str:
    if sign in _APOSTROPHES or _is_invisible(sign):
        return ""
    return " " if unicodedata.category(sign)[0] == "P" else sign
