"""What an intent is called, as a text to learn from: its name says what it is for."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from flywheel.curation.text import normalise

_INNER_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def spoken(name: str) -> str:
    """An intent's name as words; empty where it has none.

    >>> spoken("calendar.setAlarm"), spoken("播放音乐"), spoken("fn-17"), spoken("42")
    ('calendar set alarm', '播放音乐', 'fn 17', '')
    """
    parted = _INNER_CAPITAL.sub(" ", unicodedata.normalize("NFC", name))
    words = "".join(sign if sign.isalnum() or _is_mark(sign) else " " for sign in parted)
    return " ".join(words.lower().split()) if any(map(str.isalpha, words)) else ""


def _is_mark(sign: str) -> bool:
    """Vowels and tones of many scripts are marks on the letter before them."""
    return unicodedata.category(sign)[0] == "M"


def name_texts(intents: Iterable[str], texts: Sequence[str]) -> list[tuple[str, str]]:
    """(text, intent) of each intent that is called something, by intent.

    Args:
        intents: their names.
        texts: those that have a label already, whose word counts more.

    Names that two intents share once they are words, and names that are one of the texts, say
    nothing; they are left out.
    """
    known = {normalise(text) for text in texts}
    called: dict[str, list[str]] = {}
    for intent in sorted(set(intents)):
        called.setdefault(normalise(spoken(intent)), []).append(intent)
    pairs = ((spoken(of[0]), of[0]) for said, of in called.items() if len(of) == 1 and said)
    return [(text, intent) for text, intent in pairs if normalise(text) not in known]
