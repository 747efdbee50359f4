"""G7 and G8: confidence means what it meant, and answers come in time."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence

from flywheel.config.tables import CalibrationRule, LatencyRule
from flywheel.metrics.distributions import bdtr, bdtrc, stdtrit
from flywheel.records import GateResult, Outcome, Verdict

LEVEL = 0.05
"""Level of both gates' one-sided tests."""

SLOW_SHARE = 0.05
"""Share of answers that may take longer than the limit."""

_FEWEST = 30  # units below which a mean's interval is not trusted
_BINS = 10


def calibration(rows: Sequence[Outcome], rule: CalibrationRule) -> GateResult:
    """Pass if the Brier score rose by less than `max_increase`, by a paired one-sided interval.

    The Brier score is the mean of (confidence - correct)², 0 best. A row without confidence
    or outcome of either model, or fewer than 30 units, is INCONCLUSIVE. The expected
    calibration error is told, not judged.
    """
    changes: dict[Hashable, list[float]] = {}
    missing = 0
    for row in rows:
        before = _brier(row.champion_confidence, row.champion_correct)
        after = _brier(row.challenger_confidence, row.challenger_correct)
        if before is None or after is None:
            missing += 1
        else:
            changes.setdefault((row.family,) if row.family else row.sample, []).append(
                after - before
            )
    units = sorted(math.fsum(values) / len(values) for values in changes.values())
    n = len(units)
    if n < _FEWEST or missing:
        detail = f"{n} examples with both confidences, {missing} without; at least {_FEWEST} needed"
        return GateResult(gate="calibration", verdict="INCONCLUSIVE", n=n, detail=detail)
    mean = math.fsum(units) / n
    error = math.sqrt(math.fsum((x - mean) ** 2 for x in units) / (n - 1) / n)
    reach = stdtrit(n - 1, 1 - LEVEL) * error
    verdict: Verdict = "INCONCLUSIVE"
    if mean - reach > rule.max_increase:
        verdict = "FAIL"
    elif mean + reach <= rule.max_increase:
        verdict = "PASS"
    return GateResult(
        gate="calibration",
        verdict=verdict,
        effect=mean,
        value=mean + reach,
        threshold=rule.max_increase,
        n=n,
        detail=f"Brier score changed by {mean:+.4f} (at most {mean + reach:+.4f}, allowed "
        f"{rule.max_increase:+.4f}); {_calibration_errors(rows)}",
    )


def latency(
    samples: Mapping[str, Sequence[float]], rule: LatencyRule, *, first: bool = False
) -> GateResult:
    """Pass if it is shown that at most 5 % of answers take longer than `limit_ms`.

    With no slow answer that takes 59 of them. The champion is measured in turn with the
    challenger on one machine; without as many of its answers the verdict is INCONCLUSIVE.

    Args:
        samples: milliseconds of each answer under "challenger" and "champion".
        rule: `[gates.latency]`.
        first: there is no champion to measure.
    """
    mine, theirs = samples.get("challenger", ()), samples.get("champion", ())
    n = len(mine)
    sound = all(math.isfinite(ms) and ms >= 0 for ms in (*mine, *theirs))
    if not n or not sound or (not first and len(theirs) != n):
        detail = f"{n} answers of the challenger and {len(theirs)} of the champion were timed"
        if not sound:
            detail += ", some of them no number"
        return GateResult(gate="latency", verdict="INCONCLUSIVE", n=n, detail=detail)
    slow = sum(ms > rule.limit_ms for ms in mine)
    kept_p = bdtr(slow, n, SLOW_SHARE)
    broken_p = bdtrc(slow - 1, n, SLOW_SHARE) if slow else 1.0
    verdict: Verdict = "INCONCLUSIVE"
    if broken_p <= LEVEL:
        verdict = "FAIL"
    elif kept_p <= LEVEL:
        verdict = "PASS"
    detail = f"{slow} of {n} answers took longer than {rule.limit_ms:g} ms"
    if theirs:
        detail += f", the champion's {sum(ms > rule.limit_ms for ms in theirs)}"
    return GateResult(
        gate="latency",
        verdict=verdict,
        effect=slow / n,
        value=kept_p,
        threshold=LEVEL,
        n=n,
        detail=detail,
    )


def _brier(confidence: float | None, correct: bool | None) -> float | None:
    if confidence is None or correct is None or not 0 <= confidence <= 1:
        return None
    return (confidence - correct) ** 2


def _calibration_errors(rows: Sequence[Outcome]) -> str:
    before = _calibration_error([(r.champion_confidence, r.champion_correct) for r in rows])
    after = _calibration_error([(r.challenger_confidence, r.challenger_correct) for r in rows])
    return f"expected calibration error {before:.3f} before, {after:.3f} after"


def _calibration_error(answers: Sequence[tuple[float | None, bool | None]]) -> float:
    """Mean gap between confidence and accuracy over ten bins of confidence, by their size."""
    bins: dict[int, list[tuple[float, bool]]] = {}
    for confidence, correct in answers:
        if confidence is not None and correct is not None:
            place = min(_BINS - 1, int(confidence * _BINS))
            bins.setdefault(place, []).append((confidence, correct))
    gaps = [abs(math.fsum(c - right for c, right in inside)) for inside in bins.values()]
    return math.fsum(gaps) / max(1, len(answers))
