"""What can be read of a teacher's answer, however it is wrapped, cut off or mixed with prose.

Pure. Problems are told by their place, never with the text.
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

LONGEST_ANSWER = 200_000  # characters read; the rest is a problem
LONGEST_TEXT = 500  # characters of one sentence

_MOST_FAILURES = 200  # places where JSON seems to start and does not; bounds the time
LISTS = ("samples", "sentences", "examples", "texts", "data", "items")
TEXTS = ("text", "sentence", "utterance")
_MAY_START = re.compile(r'\{\s*["}]|\[\s*[{"\]]')
_OF_A_CALL = re.compile(r'"arguments"\s*:\s*\Z')
_THINKING = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """What an answer held."""

    drafts: tuple[Draft, ...]
    problems: tuple[str, ...]


def read(answer: str, intent: Intent) -> ParsedAnswer:
    """Return the samples in an answer, in its order, each text once.

    Code fences, prose around, several objects and a cut-off end are read through: whatever is a
    whole sample counts. A sample that names another intent than the asked one is none: nothing
    that a teacher reads in production text may decide a label.

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
        found = _draft(item, intent)
        if isinstance(found, str):
            problems.append(f"sample {number}: {found}")
        elif found.text in drafts:
            problems.append(f"sample {number}: said before")
        else:
            drafts[found.text] = found
    if not number:
        problems.append("no sample in it")
    return ParsedAnswer(tuple(drafts.values()), tuple(problems))


def items(
    answer: str, *, lists: Sequence[str], marks: Sequence[str]
) -> Iterator[Mapping[str, Any]]:
    """Return every object in an answer that has one of the keys `marks`, in its order.

    Args:
        answer: whatever the model said.
        lists: keys under which lists of such objects stand.
        marks: keys by which such an object is known.
    """
    for item in _items(answer, lists, marks):
        if isinstance(item, Mapping):
            yield item


def _items(answer: str, lists: Sequence[str], marks: Sequence[str]) -> Iterator[Any]:
    for value in _values(_THINKING.sub("", answer[:LONGEST_ANSWER])):
        yield from _samples_of(value, lists, marks, top=True)


def _values(answer: str) -> Iterator[Any]:
    """Every whole JSON object or list, outermost first; one that is cut off gives its parts."""
    at = failures = 0
    while failures < _MOST_FAILURES and (start := _MAY_START.search(answer, at)):
        try:
            value, at = _DECODER.raw_decode(answer, start.start())
        except json.JSONDecodeError:
            at = start.start() + 1
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
        found = [value[key] for key in lists if isinstance(value.get(key), list)]
        for each in found:
            yield from _samples_of(each, lists, marks, top=False)
        if not found and any(key in value for key in marks):
            yield value


def _draft(item: Any, asked: Intent) -> Draft | str:
    """A draft, or what is wrong with the item."""
    if isinstance(item, str):
        item = {"text": item}
    if not isinstance(item, Mapping):
        return "not an object"
    text = _clean(next((item[key] for key in TEXTS if key in item), None))
    if not text:
        return "no text"
    if len(text) > LONGEST_TEXT:
        return f"longer than {LONGEST_TEXT} characters"
    if (item.get("intent") or asked.name) != asked.name:
        return "an intent that was not asked for"
    arguments = _arguments(item.get("arguments"), asked.argument_names())
    if isinstance(arguments, str):
        return arguments
    return Draft(text=text, intent=asked.name, arguments=arguments)


def _arguments(value: Any, known: frozenset[str]) -> dict[str, Any] | str | None:
    """The arguments that are said; None when the answer has none; what is wrong with them."""
    if value is None:
        return None
    if isinstance(value, str):  # as function calls carry them
        try:
            value = json.loads(value)
        except (json.JSONDecodeError, RecursionError):
            return "arguments that are not JSON"
    if not isinstance(value, Mapping):
        return "arguments that are not an object"
    said = {name: given for name, given in value.items() if given not in (None, "")}
    if not known.issuperset(said):
        return "an argument the intent does not have"
    return said


def _clean(value: Any) -> str:
    """One line without control characters or half characters (lone surrogates)."""
    if not isinstance(value, str):
        return ""
    spaced = (" " if unicodedata.category(sign) in ("Cc", "Cs") else sign for sign in value)
    return " ".join("".join(spaced).split())
