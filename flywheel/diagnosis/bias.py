"""How did the feedback come, and how far does it tell a rate? Pure.

Nobody draws volunteered feedback by lot: people speak up more often after a wrong answer. So many
times as often (the odds ratio `bias`) an error rate among what was rated has to be read as a
smaller one of the traffic. Where people only complain, feedback has no rate at all: there each
complaint is one error of all that was served, and what nobody complained about counts as right.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from flywheel.records import StreamKind

_ASSUMED_BIAS = 3.0  # where neither the audit nor dev says how often the champion errs
_LEAST_LABELS = 20  # rated, and of the reference, for the bias to be estimated


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """The way in which volunteered feedback came."""

    kind: StreamKind
    bias: float  # odds ratio of being rated, wrong to right answers: 1..infinity
    known: bool  # whether the bias was estimated

    def bound(self, max_error_rate: float) -> float:
        """Return the error rate among rated answers up to which that of the traffic may be
        tolerable.

        >>> Stream(kind="feedback", bias=3.0, known=False).bound(0.10)
        0.25
        """
        if self.bias == math.inf or max_error_rate >= 1:
            return 1.0
        odds = self.bias * max_error_rate / (1 - max_error_rate)
        return odds / (1 + odds)


def stream(rated: tuple[int, int], recorded: tuple[int, int], reference: tuple[int, int]) -> Stream:
    """Return how volunteered feedback came.

    Args:
        rated: (errors, labels) of volunteered labels, of today's champion.
        recorded: (right, wrong) verdicts as they were given, whoever had answered.
        reference: (errors, labels) of the champion where nobody chose what was labelled: the audit,
            else dev.
    """
    right, wrong = recorded
    if not right and not wrong:
        return Stream(kind="nothing", bias=1.0, known=False)
    if not right:
        return Stream(kind="complaints", bias=math.inf, known=True)
    kind: StreamKind = "feedback" if wrong else "praise"
    if min(rated[1], reference[1]) < _LEAST_LABELS:
        return Stream(kind=kind, bias=_ASSUMED_BIAS, known=False)
    ratio = _odds(*rated) / _odds(*reference)
    return Stream(kind=kind, bias=max(1.0, ratio), known=True)


def _odds(errors: int, n: int) -> float:
    """Odds of an error, half a label added on either side."""
    return (errors + 0.5) / (n - errors + 0.5)
