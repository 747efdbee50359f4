"""How good answers on test rows are, and whether an intent was lost. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from partition import Row

from flywheel.records import NONE

LOST_P = 0.01
LOST_RECALL = 0.20


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Percentages on test rows."""

    micro: float  # of in-scope rows
    macro: float  # mean recall of the in-scope intents
    worst_decile: float  # mean recall of the tenth of intents that do worst
    out_of_scope: float | None  # share of out-of-scope rows found; None without such rows


def score(test: Sequence[Row], answers: Mapping[str, str]) -> Score:
    """Score answers by text."""
    right = _right(test, answers)
    recalls = sorted(fmean(rows) for intent, rows in right.items() if intent != NONE)
    inside = [hit for intent, rows in right.items() if intent != NONE for hit in rows]
    outside = right.get(NONE)
    return Score(
        micro=100 * fmean(inside),
        macro=100 * fmean(recalls),
        worst_decile=100 * fmean(recalls[: max(1, round(len(recalls) / 10))]),
        out_of_scope=100 * fmean(outside) if outside else None,
    )


def intents_lost(
    test: Sequence[Row], before: Mapping[str, str], after: Mapping[str, str]
) -> list[str]:
    """In-scope intents that lost at least 20 points of recall, significantly: the one-sided exact
    McNemar test over the intent's test rows says p < .01.
    """
    from scipy.stats import binomtest  # takes a second, and most who read this count nothing

    old, new = _right(test, before), _right(test, after)
    lost = []
    for intent in sorted(set(old) - {NONE}):
        pairs = list(zip(old[intent], new[intent], strict=True))
        losses, gains = pairs.count((True, False)), pairs.count((False, True))
        if (losses - gains) / len(pairs) < LOST_RECALL:
            continue
        if binomtest(losses, losses + gains, 0.5, "greater").pvalue < LOST_P:
            lost.append(intent)
    return lost


def _right(test: Sequence[Row], answers: Mapping[str, str]) -> dict[str, list[bool]]:
    right = defaultdict(list)
    for row in test:
        right[row.intent].append(answers[row.text] == row.intent)
    return right
