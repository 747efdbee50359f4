"""Did traffic change? Four alarms, each at a stated rate of false ones. Pure.

The last whole week is compared with up to four weeks before it, one answer a key and week, so that
who asks much counts once. Whole weeks have every weekday alike. Each alarm has one look a week.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from flywheel.metrics import shift_p
from flywheel.records import NONE
from flywheel.scripts import word_set

ALARMS = ("input", "intents", "confidence", "abstention")
PER_YEAR = 0.25
"""False alarms that each of them raises in a year of traffic that does not change."""
LEAST = 50
"""Keys of a week; with fewer nothing is said of it."""

_LOOKS_A_YEAR = 365.25 / 7
_LEVEL = PER_YEAR / _LOOKS_A_YEAR


@dataclass(frozen=True, slots=True)
class WeeklyAnswer:
    """One answer of a key in a week."""

    text: str
    intent: str
    confidence: float | None


Counts = Mapping[str, Mapping[str, int]]
"""By alarm, members by category."""


def counted(answers: Iterable[WeeklyAnswer], vocabulary: frozenset[str]) -> dict[str, Counter[str]]:
    """Return what each alarm looks at; without a vocabulary, or confidences, that one is empty.

    Args:
        answers: of one week, one a key.
        vocabulary: words of the seeds (`word_set`), which no week's traffic changes.
    """
    found: dict[str, Counter[str]] = {name: Counter() for name in ALARMS}
    for one in answers:
        found["intents"][one.intent] += 1
        found["abstention"]["none" if one.intent == NONE else "call"] += 1
        if one.confidence is not None:
            found["confidence"][f"{min(int(one.confidence * 10), 9)}"] += 1
        if vocabulary:
            found["input"][_strange(one.text, vocabulary)] += 1
    return found


def _strange(text: str, vocabulary: frozenset[str]) -> str:
    """How many of a text's words no seed has."""
    words = word_set(text)
    unknown = len(words - vocabulary)
    return f"{min(unknown, 3)} of {min(len(words), 8)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """What one alarm says of the last week."""

    name: str
    raised: bool
    p: float  # uniform where traffic did not change
    level: float  # raised at or below it
    detail: str  # the category that moved most, and by how much; never a text


def alarms(week: int, recent: Counts, reference: Sequence[Counts]) -> list[Alarm]:
    """Compare a week with those before it; an alarm with too little to compare is left out.

    Args:
        week: number of the recent week; the same week is always judged alike.
        recent: its counts.
        reference: those of the weeks before.
    """
    found = []
    for name in ALARMS:
        before: Counter[str] = Counter()
        for one in reference:
            if sum(one[name].values()) >= LEAST:
                before.update(one[name])
        now = recent[name]
        if sum(now.values()) < LEAST or not before:
            continue
        p = shift_p(before, now, zlib.crc32(f"{week} {name}".encode()))
        raised = p <= _LEVEL
        found.append(Alarm(name=name, raised=raised, p=p, level=_LEVEL, detail=_moved(before, now)))
    return found


def _moved(before: Mapping[str, int], now: Mapping[str, int]) -> str:
    """The category whose share changed most."""
    whole, part = sum(before.values()), sum(now.values())
    shares = {
        name: (before.get(name, 0) / whole, now.get(name, 0) / part) for name in {*before, *now}
    }
    name = max(sorted(shares), key=lambda each: abs(shares[each][1] - shares[each][0]))
    old, new = shares[name]
    return f"{name}: {100 * old:.1f} % before, {100 * new:.1f} % in the last week"
