"""Arguments as spans of the text: a BIO tag for each part of it, values as said.

The parts are those of `text_segments`. One that begins a token is tagged by the token's state.
Where a token holds several, as `的歌` does, the ones after the first are told apart by their place
in it, so that an argument may begin or end inside a token.

Only arguments whose value is a string that occurs in the text can be learned; a row with any
other value teaches its intent and no tags, and so does one with a value that cuts a segment. An
intent is given only arguments of its own schema.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from tokenizers import Encoding
from torch import Tensor

from flywheel.worker.logistic import Linear
from flywheel.worker.models.encoder.text_segments import segments

OUTSIDE = 0
PLACES = 3
"""Places of a segment in its token: the first, one between, the last of several."""

_BARE = "▁"  # a token of the space before a word: its offsets are those of the first character


@dataclass(frozen=True, slots=True)
class Unit:
    """A part of a text that is given one tag."""

    token: int  # whose state it is tagged by
    place: int  # in that token, 0..PLACES - 1
    start: int  # in characters
    end: int


@dataclass(frozen=True, slots=True)
class Tags:
    """What one row teaches, a number a unit: each int64 (units,)."""

    tokens: Tensor
    places: Tensor
    tags: Tensor  # OUTSIDE, 1 + 2·slot to begin an argument, 2 + 2·slot inside one

    def of_tokens(self, kept: Tensor) -> Tags:
        """The units whose token is kept: bool (length,)."""
        units, numbers = kept[self.tokens], kept.cumsum(0) - 1
        return Tags(numbers[self.tokens[units]], self.places[units], self.tags[units])


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


def units(encoding: Encoding, text: str) -> list[Unit]:
    """The text's segments, as far as it was read."""
    tokens = [
        (start, number)
        for number, (token, word, (start, end)) in enumerate(
            zip(encoding.tokens, encoding.word_ids, encoding.offsets, strict=True)
        )
        if word is not None and start < end and token != _BARE
    ]
    if not tokens:
        return []
    # A token may hold the space before it; where the text was put in another order, an earlier one.
    starts = list(accumulate((_visible(text, start) for start, _ in tokens), max))
    read = encoding.offsets[tokens[-1][1]][1] if encoding.overflowing else len(text)
    found: list[tuple[int, int, int]] = []  # token, start, end
    for start, end in segments(text):
        if start >= read:
            break
        last = max(0, bisect_right(starts, start) - 1)
        first = bisect_left(starts, starts[last])  # one character may be several tokens
        found.append((tokens[first][1], start, end))
    return [Unit(token, _place_in(found, n), a, b) for n, (token, a, b) in enumerate(found)]


def words(encoding: Encoding) -> list[Unit]:
    """The pre-tokenizer's words: what adapters of earlier versions tag."""
    first: dict[int, Unit] = {}
    for token, (word, (start, end)) in enumerate(
        zip(encoding.word_ids, encoding.offsets, strict=True)
    ):
        if word is not None:
            known = first.get(word, Unit(token, 0, start, end))
            first[word] = Unit(known.token, 0, known.start, end)
    return list(first.values())


def tags_of(
    encoding: Encoding, text: str, values: Mapping[str, Any] | None, slots: Sequence[str]
) -> Tags:
    """What a row teaches; no unit where its arguments cannot be learned."""
    spans = locate(text, values)
    if spans is None or not set(spans) <= set(slots) or _cut(text, spans.values()):
        return Tags(*torch.zeros(3, 0, dtype=torch.int64))
    rows = []
    for unit in units(encoding, text):
        tag = OUTSIDE
        for name, (low, high) in spans.items():
            if low <= unit.start and unit.end <= high:
                tag = 1 + 2 * slots.index(name) + (unit.start > low)
        rows.append((unit.token, unit.place, tag))
    return Tags(*torch.tensor(rows, dtype=torch.int64).view(-1, 3).T)


def features(states: Tensor, places: Tensor, width: int) -> Tensor:
    """What the tag head reads of units.

    Args:
        states: of each unit's token (units, states' width).
        places: int64 (units,).
        width: of the tag head: the states', or PLACES times it.

    Returns:
        The states, and where the head is wide once more in the columns of each later place.
    """
    if width == states.shape[1]:
        return states
    later = [states * (places == place).unsqueeze(1) for place in range(1, PLACES)]
    return torch.cat([states, *later], dim=1)


def logits(head: Linear, states: Tensor, found: Sequence[Unit]) -> Tensor:
    """Of the tags of each unit, float32 (units, 1 + 2·slots).

    Args:
        head: weight (1 + 2·slots, width or PLACES · width).
        states: float32 (length, width), of all tokens.
    """
    width = states.shape[1]
    tokens = torch.tensor([unit.token for unit in found], dtype=torch.int64)
    places = torch.tensor([unit.place for unit in found], dtype=torch.int64)
    first = Linear(head.weight[:, :width], head.bias).logits(states)[tokens]
    if head.weight.shape[1] == width or not places.any():
        return first
    later = features(states[tokens], places, head.weight.shape[1])[:, width:]
    return first + later @ head.weight[:, width:].T


def read(
    found: Sequence[Unit], text: str, log_p: Tensor, slots: Sequence[str], allowed: Collection[str]
) -> dict[str, str]:
    """Arguments that the tags spell.

    Args:
        log_p: float32 (units, 1 + 2·slots), log-probabilities or logits of the tags.
        allowed: argument names of the predicted intent's schema; others are not considered.

    Returns:
        Values as said; the surest span of a slot that is found twice.
    """
    columns = [OUTSIDE]
    for number, name in enumerate(slots):
        if name in allowed:
            columns += [1 + 2 * number, 2 + 2 * number]
    if len(columns) == 1 or not found:
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

    for number, unit in enumerate(found):
        tag, score = columns[int(best.indices[number])], float(best.values[number])
        slot, inside = (tag - 1) // 2, tag > 0 and tag % 2 == 0
        if inside and last is not None and last[0] == slot:
            last = (slot, last[1], unit.end)
            scores.append(score)
            continue
        close()
        last, scores = ((slot, unit.start, unit.end), [score]) if tag else (None, [])
    close()
    return {name: text[start:end] for name, (_, start, end) in sorted(surest.items())}


def _place(text: str, value: str, taken: Collection[tuple[int, int]]) -> tuple[int, int] | None:
    """The first free occurrence, of those at word boundaries or else of those that cut no segment.

    Where all of them cut one it is the first.
    """
    exact = re.escape(value)
    free = [
        match.span()
        for pattern in (rf"(?<!\w){exact}(?!\w)", exact)
        for match in re.finditer(pattern, text, re.IGNORECASE)
        if all(match.end() <= low or high <= match.start() for low, high in taken)
    ]
    return next((span for span in free if not _cut(text, [span])), free[0] if free else None)


def _cut(text: str, spans: Collection[tuple[int, int]]) -> bool:
    """Whether a span begins or ends inside a segment."""
    parts = segments(text)
    return any(start < edge < end for span in spans for edge in span for start, end in parts)


def _visible(text: str, start: int) -> int:
    """The first character from `start` on that is no space."""
    return len(text) - len(text[start:].lstrip())


def _place_in(found: Sequence[tuple[int, int, int]], number: int) -> int:
    """The place of a unit among those of its token."""
    if number == 0 or found[number - 1][0] != found[number][0]:
        return 0
    more = number + 1 < len(found) and found[number + 1][0] == found[number][0]
    return 1 if more else 2
