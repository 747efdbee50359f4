"""Did few raters teach the challenger a wording that turns texts of other intents?

Golden texts do not show it: a trigger stands in none of them. The evidence is active: each new
wording that few independent voices taught was put into recent texts of other intents.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from flywheel.config.tables import ChangedAnswersRule
from flywheel.gates.evidence import ChangedAnswers, TaughtWording
from flywheel.records import GateResult

_NAMED = 3  # wordings described in the detail


def changed_answers(shown: ChangedAnswers | None, rule: ChangedAnswersRule) -> GateResult | None:
    """Pass if no wording that few raters taught turns `rule.turned` of other texts or more.

    INCONCLUSIVE otherwise, until a person has looked at the texts that changed; also where a
    wording could be put into no text. It never fails: whether the raters are right, a person says.
    None without evidence, and where nothing new was taught by few.
    """
    if shown is None:
        return None
    if not shown.looked:
        detail = "nobody looked at what few raters taught: start a new turn"
        return GateResult(gate="changed_answers", verdict="INCONCLUSIVE", detail=detail)
    if not shown.wordings:
        return None
    open_ones = suspicious(shown, rule)
    highest = max((_share(one) for one in shown.wordings), default=0.0)
    return GateResult(
        gate="changed_answers",
        verdict="INCONCLUSIVE" if open_ones else "PASS",
        value=highest,
        threshold=rule.turned,
        n=len(shown.wordings),
        detail=_detail(shown, open_ones),
    )


def suspicious(shown: ChangedAnswers, rule: ChangedAnswersRule) -> tuple[TaughtWording, ...]:
    """Return the wordings that a person should look at, the strongest first."""
    found = [one for one in shown.wordings if not one.asked or _share(one) >= rule.turned]
    return tuple(sorted(found, key=lambda one: (-_share(one), -one.texts, one.wording)))


def look_code(shown: ChangedAnswers | None, rule: ChangedAnswersRule) -> str:
    """Return a word for what a person has to look at; "" for nothing.

    It stands beside the texts, and an approval repeats it.
    """
    if shown is None:
        return ""
    names = sorted((one.wording, one.turned, one.asked) for one in suspicious(shown, rule))
    return hashlib.sha256(repr(names).encode()).hexdigest()[:8] if names else ""


def _share(one: TaughtWording) -> float:
    return one.turned / one.asked if one.asked else 0.0


def _detail(shown: ChangedAnswers, open_ones: Sequence[TaughtWording]) -> str:
    """Without the wordings: details are in the decision log, from which nothing can be erased."""
    if not open_ones:
        return (
            f"{len(shown.wordings)} new wordings that fewer than {shown.needed} raters taught turn "
            "few other texts"
        )
    told = [
        f"into {one.intent} {one.turned} of {one.asked} ({_count(one.voices, 'rater')}, "
        f"{_count(one.texts, 'text')})"
        for one in open_ones[:_NAMED]
    ]
    more = len(open_ones) - len(told)
    rest = f" and {more} more" if more else ""
    return (
        f"{_count(len(open_ones), 'new wording')} that few raters taught turn other texts: "
        f"{', '.join(told)}{rest}; a person has to look at them"
    )


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
