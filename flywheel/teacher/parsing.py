"""Tolerant parser of a teacher's answers: JSON in code fences or prose, or cut off. Pure.

Problems are reported by position, never with user text.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flywheel.protocols import Draft
from flywheel.records import Intent

LONGEST_ANSWER = 200_000  # characters parsed; a longer answer is a problem
LONGEST_TEXT = 500  # characters of one sentence

_MOST_FAILURES = 200  # failed attempts to decode JSON; bounds the time
LISTS = ("samples", "sentences", "examples", "texts", "data", "items")
TEXTS = ("text", "sentence", "utterance")
_MAY_START = re.compile(r'\{\s*["}]|\[\s*[{"\]]')
_OF_A_CALL = re.compile(r'"arguments"\s*:\s*\Z')
_THINKING = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """Samples of an answer, and its problems."""

    drafts: tuple[Draft, ...]
    problems: tuple[str, ...]


def read(answer: str, intent: Intent) -> ParsedAnswer:
    """Return the samples in an answer, in its order, deduplicated by text.

    Code fences, surrounding prose, several objects and a cut-off end are tolerated: every complete
    sample counts. A sample that names another intent is refused: production text that the teacher
    read must not decide a label.

    >>> cut_off = 'Sure! {"samples": [{"text": "wake me at six"}, {"text": "wak'
    >>> read(cut_off, Intent(name="set_alarm")).drafts[0].text
    'wake me at six'
    """
    drafts: dict[str, Draft] = {}
    problems = []
    if len(answer) > LONGEST_ANSWER:
        problems.append(f"longer than {LONGEST_ANSWER} characters")
    number = 0
    for item in _items(answer, LISTS, TEXTS):
        number += 1
        draft = _draft(item, intent)
        if isinstance(draft, str):
            problems.append(f"sample {number}: {draft}")
        elif draft.text in drafts:
            problems.append(f"sample {number}: said before")
        else:
            drafts[draft.text] = draft
    if not number:
        problems.append("no sample in it")
    return ParsedAnswer(tuple(drafts.values()), tuple(problems))


def items(
    answer: str, *, lists: Sequence[str], marks: Sequence[str]
) -> Iterator[Mapping[str, Any]]:
    """Yield every object in an answer that has one of the keys `marks`, in its order.

    Args:
        answer: the model's text.
        lists: keys that hold lists of such objects.
        marks: keys that identify such an object.
    """
    for item in _items(answer, lists, marks):
        if isinstance(item, Mapping):
            yield item


def _items(answer: str, lists: Sequence[str], marks: Sequence[str]) -> Iterator[Any]:
    for value in _values(_THINKING.sub("", answer[:LONGEST_ANSWER])):
        yield from _samples_of(value, lists, marks, top=True)


def _values(answer: str) -> Iterator[Any]:
    """Every complete JSON object or list, outermost only; of a cut-off one its complete parts."""
    position = failures = 0
    while failures < _MOST_FAILURES and (start := _MAY_START.search(answer, position)):
        try:
            value, position = _DECODER.raw_decode(answer, start.start())
        except json.JSONDecodeError:
            position = start.start() + 1
            failures += 1
            continue
        except RecursionError:
            return  # nested a thousand deep: not an answer
        if not _OF_A_CALL.search(answer, max(0, start.start() - 40), start.start()):
            yield value


def _samples_of(
    value: Any, lists: Sequence[str], marks: Sequence[str], *, top: bool
) -> Iterator[Any]:
    if isinstance(value, list):
        yield from (item for item in value if not top or isinstance(item, str | Mapping))
    elif isinstance(value, Mapping):
        nested = [value[key] for key in lists if isinstance(value.get(key), list)]
        for inner in nested:
            yield from _samples_of(inner, lists, marks, top=False)
        if not nested and any(key in value for key in marks):
            yield value


def _draft(item: Any, intent: Intent) -> Draft | str:
    """A draft, or what is wrong with the item."""
    if isinstance(item, str):
        item = {"text": item}
    if not isinstance(item, Mapping):
        return "not an object"
    text = _one_line(next((item[key] for key in TEXTS if key in item), None))
    if not text:
        return "no text"
    if len(text) > LONGEST_TEXT:
        return f"longer than {LONGEST_TEXT} characters"
    if (item.get("intent") or intent.name) != intent.name:
        return "an intent that was not asked for"
    arguments = _arguments(item.get("arguments"), intent.argument_names())
    if isinstance(arguments, str):
        return arguments
    return Draft(text=text, intent=intent.name, arguments=arguments)


def _arguments(value: Any, names: frozenset[str]) -> dict[str, Any] | str | None:
    """The arguments with a value; None when the item has none; a text says what is wrong."""
    if value is None:
        return None
    if isinstance(value, str):  # as function calls carry them
        try:
            value = json.loads(value)
        except (json.JSONDecodeError, RecursionError):
            return "arguments that are not JSON"
    if not isinstance(value, Mapping):
        return "arguments that are not an object"
    present = {name: argument for name, argument in value.items() if argument not in (None, "")}
    if not names.issuperset(present):
        return "an argument the intent does not have"
    return present


def _one_line(value: Any) -> str:
    """The text on one line, without control characters and lone surrogates."""
    if not isinstance(value, str):
        return ""
    spaced = (" " if unicodedata.category(sign) in ("Cc", "Cs") else sign for sign in value)
    return " ".join("".join(spaced).split())
