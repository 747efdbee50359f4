"""Which intent is a person asked about next, so that failing intents are found by few labels? Pure.

The intent may be chosen by what is known so far; the text within it is drawn by lot. So the labels
of one intent are a fair sample of its traffic, however many it got (`metrics.error_rates`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from flywheel.metrics import chance_above, error_e_value, labels_to_show

_CLEARED = 0.03  # chance of a bad rate below which nothing more is asked
_BAD = 2.5  # times the tolerated error rate: what is looked for
_LEAST_BAD, _MOST_BAD = 0.05, 0.5
_SEEMING_LEAST = 1.5  # times the tolerated rate, assumed of an intent that seems bad
_SUSPECT = (1.0, 1.0)  # (errors, labels) that a suspicion from complaints or dev adds to the prior
_MOST = 500  # labels beyond which a number says nothing to a person
_SPREAD = 0.5  # how much less the next label of an intent is worth while one is waited for


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """What is known of one intent from labels drawn by lot."""

    intent: str
    errors: int = 0
    n: int = 0
    suspected: bool = False  # by complaints, or by dev: the first to be asked about


def worth_asking(doubt: Doubt, max_error_rate: float) -> float:
    """Return the chance that the intent's error rate is bad, 0..1; 0 where it is as good as ruled
    out."""
    more_errors, more = _SUSPECT if doubt.suspected else (0.0, 0.0)
    chance = chance_above(doubt.errors + more_errors, doubt.n + more, bad_rate(max_error_rate))
    return chance if chance >= _CLEARED else 0.0


def bad_rate(max_error_rate: float) -> float:
    """Return the error rate that is looked for; rates between it and the tolerated one are found
    with more labels.

    >>> bad_rate(0.10)
    0.25
    """
    return max(_LEAST_BAD, max_error_rate, min(_MOST_BAD, _BAD * max_error_rate))


def shares(
    doubts: Sequence[Doubt], shown: Collection[str], max_error_rate: float, most: int
) -> dict[str, int]:
    """Return how many of the next `most` labels each intent gets; intents without any are missing.

    Args:
        doubts: one for each intent; ties go to the earlier one.
        shown: intents that are known to fail: nothing more is asked of them.
        max_error_rate: of [intents].
        most: labels that are asked before the next choice.
    """
    worth = {
        doubt.intent: worth_asking(doubt, max_error_rate)
        for doubt in doubts
        if doubt.intent not in shown
    }
    asked: dict[str, int] = {}
    for _ in range(most):
        best = max(
            worth,
            key=lambda name: worth[name] / (1 + _SPREAD * asked.get(name, 0)),
            default=None,
        )
        if best is None or not worth[best]:
            break
        asked[best] = asked.get(best, 0) + 1
    return asked


def labels_that_tell(doubt: Doubt, max_error_rate: float, needed: float) -> int:
    """Return about how many more labels would say whether the intent fails; 0: it is said already.

    Args:
        doubt: the intent.
        max_error_rate: of [intents].
        needed: e-value that shows that it fails.
    """
    e_value = error_e_value(doubt.errors, doubt.n, max_error_rate)
    if e_value >= needed or not worth_asking(doubt, max_error_rate):
        return 0
    more_errors, more = _SUSPECT if doubt.suspected else (0.0, 0.0)
    seems = (doubt.errors + more_errors) / (doubt.n + more) if doubt.n + more else 0.0
    if max_error_rate <= 0 or seems < _SEEMING_LEAST * max_error_rate:
        return _labels_to_clear(doubt, max_error_rate)
    return labels_to_show(e_value, needed, min(seems, 0.95), max_error_rate)


def _labels_to_clear(doubt: Doubt, max_error_rate: float) -> int:
    """Right answers in a row after which nothing more is asked."""
    right = 1
    while right < _MOST and worth_asking(replace(doubt, n=doubt.n + right), max_error_rate):
        right += max(1, right // 16)
    return right
