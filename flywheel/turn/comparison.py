"""Where champion and challenger differ, beyond the gates' verdicts: for whoever reviews. Pure."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from flywheel.metrics import paired_difference
from flywheel.records import IntentVerdict, Outcome

_BINS = 10
_CONFUSIONS_SHOWN = 20


def intent_lines(lines: Iterable[IntentVerdict], rows: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Each intent's verdict with its change in recall, the 95 % interval of it, and `rows`: how
    many golden rows the challenger answered, which without a champion are compared with nothing.
    """
    answered = Counter(row.intent for row in rows if row.challenger_correct is not None)
    return [
        {
            **asdict(line),
            **_change(line.losses, line.gains, line.n),
            "rows": answered[line.intent],
        }
        for line in lines
    ]


def golden(rows: Sequence[Outcome]) -> dict[str, Any]:
    """How many golden rows each model answered, and the share that it had right.

    Returns:
        {"champion": {"n", "right"}, "challenger": …}; `right` is None where nothing was answered.
    """
    return {
        "champion": _right([row.champion_correct for row in rows]),
        "challenger": _right([row.challenger_correct for row in rows]),
    }


def slices(rows: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Accuracy before and after in each slice of the golden rows, the worst change first."""
    inside: dict[str, list[Outcome]] = defaultdict(list)
    for row in _paired(rows):
        for key, value in row.slices.items():
            inside[f"{key}={value}"].append(row)
    found = []
    for name, members in inside.items():
        losses = sum(bool(row.champion_correct) > bool(row.challenger_correct) for row in members)
        gains = sum(bool(row.champion_correct) < bool(row.challenger_correct) for row in members)
        found.append(
            {
                "slice": name,
                "n": len(members),
                "before": statistics.fmean(bool(row.champion_correct) for row in members),
                "after": statistics.fmean(bool(row.challenger_correct) for row in members),
                **_change(losses, gains, len(members)),
            }
        )
    return sorted(found, key=lambda each: (each["change"], each["slice"]))


def calibration(rows: Sequence[Outcome]) -> dict[str, list[dict[str, Any]]]:
    """Confidence against accuracy in tenths of confidence, for both models."""
    return {
        "champion": _bins([(row.champion_confidence, row.champion_correct) for row in rows]),
        "challenger": _bins([(row.challenger_confidence, row.challenger_correct) for row in rows]),
    }


def confusions(rows: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Wrong answers whose number changed, by truth and answer; the largest change first."""
    before: Counter[tuple[str, str]] = Counter()
    after: Counter[tuple[str, str]] = Counter()
    for row in _paired(rows):
        before[row.intent, str(row.champion_intent)] += row.champion_intent != row.intent
        after[row.intent, str(row.challenger_intent)] += row.challenger_intent != row.intent
    changed = [pair for pair in before | after if before[pair] != after[pair]]
    changed.sort(key=lambda pair: (-abs(after[pair] - before[pair]), pair))
    return [
        {
            "intent": truth,
            "answer": said,
            "before": before[truth, said],
            "after": after[truth, said],
        }
        for truth, said in changed[:_CONFUSIONS_SHOWN]
    ]


def _right(answers: Sequence[bool | None]) -> dict[str, Any]:
    given = [correct for correct in answers if correct is not None]
    return {"n": len(given), "right": statistics.fmean(given) if given else None}


def _paired(rows: Iterable[Outcome]) -> Iterable[Outcome]:
    return (
        row
        for row in rows
        if row.champion_correct is not None and row.challenger_correct is not None
    )


def _change(losses: int, gains: int, n: int) -> dict[str, float | None]:
    if not n:
        return {"change": None, "low": None, "high": None}
    low, high = paired_difference(losses, gains, n)
    return {"change": (gains - losses) / n, "low": low, "high": high}


def _bins(answers: Iterable[tuple[float | None, bool | None]]) -> list[dict[str, Any]]:
    inside: dict[int, list[tuple[float, bool]]] = defaultdict(list)
    for confidence, correct in answers:
        if confidence is not None and correct is not None:
            inside[min(_BINS - 1, int(confidence * _BINS))].append((confidence, correct))
    return [
        {
            "confidence": statistics.fmean(each[0] for each in members),
            "accuracy": statistics.fmean(each[1] for each in members),
            "n": len(members),
        }
        for _, members in sorted(inside.items())
    ]
