"""Arguments as spans of the text: a BIO tag for each word, values as said.

Only arguments whose value is a string that occurs in the text can be learned; a row with any
other value teaches its intent and no tags. An intent is given only arguments of its own schema.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tokenizers import Encoding
from torch import Tensor

OUTSIDE = 0
IGNORED = -100
"""Tag of tokens that teach nothing: special ones, and all but the first of a word."""


def slot_names(rows: Sequence[tuple[str, Mapping[str, Any] | None]]) -> list[str]:
    """Sorted names of the arguments that can be learned from (text, arguments) rows."""
    return sorted({name for text, values in rows for name in (locate(text, values) or {})})


def locate(text: str, values: Mapping[str, Any] | None) -> dict[str, tuple[int, int]] | None:
    """Character spans (start, end) of the values; None when a value does not occur in the text.

    Longer values are placed first, so that no two spans overlap.
    """
    if values is None:
        return None
    spans: dict[str, tuple[int, int]] = {}
    for name, value in sorted(values.items(), key=lambda item: (-len(str(item[1])), item[0])):
        if not isinstance(value, str) or not value.strip():
            return None
        span = _place(text, value.strip(), spans.values())
        if span is None:
            return None
        spans[name] = span
    return spans


def tags_of(
    encoding: Encoding, text: str, values: Mapping[str, Any] | None, slots: Sequence[str]
) -> list[int]:
    """Tag of each token: OUTSIDE, 1 + 2·slot to begin one, 2 + 2·slot inside one, or IGNORED."""
    spans = locate(text, values)
    if spans is None or not set(spans) <= set(slots):
        return [IGNORED] * len(encoding.ids)
    tags = []
    for first, (start, end) in zip(_word_starts(encoding), encoding.offsets, strict=True):
        tag = IGNORED if not first else OUTSIDE
        for name, (low, high) in spans.items():
            if first and low <= start and end <= high:
                tag = 1 + 2 * slots.index(name) + (start > low)
        tags.append(tag)
    return tags


def read(
    encoding: Encoding, text: str, log_p: Tensor, slots: Sequence[str], allowed: Collection[str]
) -> dict[str, str]:
    """Arguments that the tags spell.

    Args:
        log_p: float32 (tokens, 1 + 2·slots), log-probabilities or logits of the tags.
        allowed: argument names of the predicted intent's schema; others are not considered.

    Returns:
        Values as said; the surest span of a slot that is found twice.
    """
    columns = [OUTSIDE]
    for number, name in enumerate(slots):
        if name in allowed:
            columns += [1 + 2 * number, 2 + 2 * number]
    if len(columns) == 1:
        return {}
    best = log_p.log_softmax(1)[:, columns].max(1)
    surest: dict[str, tuple[float, int, int]] = {}
    scores: list[float] = []
    last: tuple[int, int, int] | None = None  # slot, start, end

    def close() -> None:
        if last is not None:
            name, sure = slots[last[0]], sum(scores) / len(scores)
            if name not in surest or sure >= surest[name][0]:
                surest[name] = (sure, last[1], last[2])

    words = _words(encoding)
    for token, start, end in words:
        tag, score = columns[int(best.indices[token])], float(best.values[token])
        slot, inside = (tag - 1) // 2, tag > 0 and tag % 2 == 0
        if inside and last is not None and last[0] == slot:
            last = (slot, last[1], end)
            scores.append(score)
            continue
        close()
        last, scores = ((slot, start, end), [score]) if tag else (None, [])
    close()
    return {name: text[start:end] for name, (_, start, end) in sorted(surest.items())}


def _place(text: str, value: str, taken: Collection[tuple[int, int]]) -> tuple[int, int] | None:
    """The first free occurrence, at word boundaries where there is one."""
    exact = re.escape(value)
    for pattern in (rf"(?<!\w){exact}(?!\w)", exact):
        for match in re.finditer(pattern, text, re.IGNORECASE):
            if all(match.end() <= low or high <= match.start() for low, high in taken):
                return match.span()
    return None


def _word_starts(encoding: Encoding) -> list[bool]:
    words = encoding.word_ids
    return [w is not None and (i == 0 or words[i - 1] != w) for i, w in enumerate(words)]


def _words(encoding: Encoding) -> list[tuple[int, int, int]]:
    """(first token, start, end) of each word, in characters."""
    words: dict[int, tuple[int, int, int]] = {}
    for token, (word, (start, end)) in enumerate(
        zip(encoding.word_ids, encoding.offsets, strict=True)
    ):
        if word is not None:
            first = words.get(word, (token, start, end))
            words[word] = (first[0], first[1], end)
    return list(words.values())
