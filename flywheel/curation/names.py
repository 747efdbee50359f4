"""What an intent is called, as a text to learn from: its name says what it is for."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from flywheel.curation.text import normalise
from flywheel.records import NONE

FEW = 10
"""Samples: an intent that has more is known better by them than by its name."""

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


def name_texts(samples: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """(text, intent) of each intent that is called something and has few samples, by intent.

    Args:
        samples: (text, intent). An intent without any is not learned by its name alone.

    Names that two intents share once they are words, and names that are one of the texts, say
    nothing; they are left out.
    """
    known = {normalise(text) for text, _ in samples}
    counts = Counter(intent for _, intent in samples if intent != NONE)
    called = {intent: spoken(intent) for intent in sorted(counts)}
    shared = Counter(map(normalise, called.values()))
    return [
        (text, intent)
        for intent, text in called.items()
        if text
        and counts[intent] <= FEW
        and shared[normalise(text)] == 1
        and normalise(text) not in known
    ]
