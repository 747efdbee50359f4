"""Scripts: which pieces of a vocabulary a set of them needs, and which a language or a text uses.

A script is one of Unicode's, by its long name in lower case: `latin`, `han`, `hangul`. Digits,
punctuation, emoji and combining marks belong to every script. What language a text may be in, and
whether texts are of one script to a reader, is said by `flywheel.scripts`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import regex

from flywheel.errors import FlywheelError
from flywheel.scripts import of_letter

_SHARED = r"\p{Script=Common}\p{Script=Inherited}"

_LANGUAGES = {
    "latin": "af ca cs cy da de es et eu fi fr ga gl hr hu id is it lt lv ms nl no pl pt ro sk sl "
    "sq sv sw tl tr vi",
    "cyrillic,latin": "be bg kk ky mk mn ru sr uk",
    "arabic,latin": "ar fa ps ur",
    "devanagari,latin": "hi mr ne",
    "han,latin": "zh",
    "han,hiragana,katakana,latin": "ja",
    "hangul,han,latin": "ko",
    "greek,latin": "el",
    "hebrew,latin": "he",
    "thai,latin": "th",
    "armenian,latin": "hy",
    "georgian,latin": "ka",
    "bengali,latin": "bn",
    "tamil,latin": "ta",
    "telugu,latin": "te",
    "khmer,latin": "km",
    "lao,latin": "lo",
    "myanmar,latin": "my",
    "ethiopic,latin": "am",
    "sinhala,latin": "si",
}
"""Languages by the scripts that they are written in, Latin beside them for names and loans."""

ENGLISH = "en"
_OFTEN = 0.01  # of the letters: a script below it is a name or two


def languages() -> list[str]:
    """ISO 639-1 codes that `of_language` knows."""
    return sorted({ENGLISH, *(code for codes in _LANGUAGES.values() for code in codes.split())})


def of_language(language: str) -> tuple[str, ...]:
    """The scripts of a language; none for English, which every base reads.

    Raises:
        FlywheelError: it is not known.

    >>> of_language("ja"), of_language("zh-TW"), of_language("en")
    (('han', 'hiragana', 'katakana', 'latin'), ('han', 'latin'), ())
    """
    code = language.strip().lower().replace("_", "-").split("-")[0]
    if code == ENGLISH:
        return ()
    for scripts, codes in _LANGUAGES.items():
        if code in codes.split():
            return tuple(sorted(scripts.split(",")))
    raise FlywheelError(
        f"no scripts are known for the language {language!r}",
        hint=f"give a two-letter code, one of {', '.join(languages())}",
    )


def of_texts(texts: Iterable[str]) -> Counter[str]:
    """Letters of the texts by script; other characters are not counted.

    >>> sorted(of_texts(["放一首 Jay 的歌, 42"]).items())
    [('han', 5), ('latin', 3)]
    """
    letters = Counter(sign for text in texts for sign in text if sign.isalpha())
    found: Counter[str] = Counter()
    for sign, count in letters.items():
        found[of_letter(sign)] += count
    del found["common"], found["inherited"]
    return found


def needed(texts: Iterable[str]) -> tuple[str, ...]:
    """The scripts that a base should know to read the texts, Latin always among them."""
    found = of_texts(texts)
    often = {name for name, count in found.items() if count >= _OFTEN * found.total()}
    return tuple(sorted(often | {"latin"}))


def covered(pieces: Sequence[str], scripts: Sequence[str]) -> list[int]:
    """Numbers of the pieces that texts in these scripts can use, ascending.

    A text whose normal form has no letter of another script is cut into the same pieces as by the
    whole vocabulary: every piece that could match a part of it is kept.

    Raises:
        FlywheelError: Unicode has no script of that name.
    """
    pattern = _pattern(scripts)
    return [number for number, piece in enumerate(pieces) if pattern.fullmatch(piece)]


def _pattern(scripts: Sequence[str]) -> Any:
    for name in scripts:
        try:
            regex.compile(rf"\p{{Script={name}}}")
        except regex.error as error:
            raise FlywheelError(
                f"Unicode has no script {name!r}",
                hint="name scripts as Unicode does: han, latin, cyrillic, hangul, arabic, thai, …",
            ) from error
    wanted = "".join(rf"\p{{Script={name}}}" for name in scripts)
    return regex.compile(f"[{wanted}{_SHARED}]+")
