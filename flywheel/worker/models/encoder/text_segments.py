"""The parts of a text that can begin or end an argument, in any script.

A script that writes spaces between words is parted into words, any other into grapheme clusters:
what a reader takes for one character. Which letters are of the second kind is Unicode's
Line_Break property: a line may be broken between them without a space. Hangul is among them, since
what ends a Korean word is a particle more often than not. A punctuation mark and a symbol are parts
of their own, an emoji with all that joins it is one. Spaces and invisible controls are no part.

Source: Unicode Standard Annexes 14 (line breaking) and 29 (grapheme clusters)
"""

from __future__ import annotations

import regex

_UNSPACED = (
    r"[[\p{L}\p{Nl}]"
    r"&&[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}"
    r"\p{lb=ID}\p{lb=CJ}\p{lb=NS}\p{lb=SA}\p{lb=AK}\p{lb=AP}\p{lb=AS}]"
    r"--\p{Latin}]"
)
"""Letters that no space parts; full-width Latin ones break like ideographs and are none."""

_LATIN = rf"[[\p{{L}}\p{{N}}]&&[\p{{Latin}}\p{{Common}}\p{{Inherited}}]--{_UNSPACED}]"
_SPACED = rf"[[\p{{L}}\p{{N}}]--\p{{Latin}}--{_UNSPACED}]"
_WORD = r"LETTER(?:[\p{M}\p{Cf}]*+LETTER)*+[\p{M}\u200c\u200d]*+"
"""Letters and digits with their marks; joiners and other controls only between them."""

PATTERN = "(?V1)" + "|".join(
    (
        _WORD.replace("LETTER", _LATIN),
        _WORD.replace("LETTER", _SPACED),
        r"(?![\s\p{Cc}\p{Cf}])\X",
    )
)
"""Of a part, for `regex`."""

_PART = regex.compile(PATTERN)


def segments(text: str) -> list[tuple[int, int]]:
    """(start, end) of each part, in characters, in order.

    >>> [text[a:b] for text in ["play R&B at 7pm"] for a, b in segments(text)]
    ['play', 'R', '&', 'B', 'at', '7pm']
    >>> [text[a:b] for text in ["我要听tfboys的歌"] for a, b in segments(text)]
    ['我', '要', '听', 'tfboys', '的', '歌']
    """
    return [match.span() for match in _PART.finditer(text)]
