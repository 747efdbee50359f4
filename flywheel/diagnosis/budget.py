"""Allocation of a turn's sample budget: to the errors that a dollar is expected to fix most of.

Model: each sample fixes a share r of the remaining errors, so n samples leave (1 - r)^n of them,
and the first samples for an intent are worth most. r is estimated for each kind of failure, and
the price of a sample over all, from the purchases of earlier turns. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flywheel.records import FailureClass

_PRIOR_RECOVERY = 0.03  # prior of r
_MAX_RECOVERY = 0.20
_PRIOR_SAMPLES = 40.0  # weight of the prior, in samples
_HALF_TRUST_LABELS = 10.0  # labels at which a lesson has half its weight
_NOMINAL_USD = 0.001  # price of a sample where none is known: only the order matters then


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """A purchase of an earlier turn for one intent, with the error rates before and after."""

    failure: FailureClass
    samples: int
    usd: float
    rate_before: float  # error rate, 0..1
    rate_since: float  # error rate of the adapter trained on them, 0..1
    labels: int  # number of labels behind rate_since


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Estimated effect and price of samples."""

    recovery: Mapping[FailureClass, float]  # r by kind of failure, 0..1
    usd: float  # price of one sample
    paid: bool = True  # False: no price is known, and `usd` serves only for ordering

    def recovered(self, failure: FailureClass, errors: float, samples: int) -> float:
        """Return the number of `errors` that the samples are expected to fix."""
        remaining = (1 - self.recovery.get(failure, _PRIOR_RECOVERY)) ** samples
        return errors * (1 - remaining)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A request for samples: the errors of one kind of one intent."""

    intent: str
    failure: FailureClass
    errors: float


def learned(lessons: Sequence[Lesson], usd: float = 0.0) -> Prices:
    """Estimate recovery and price from earlier turns; without lessons all kinds get the prior.

    Args:
        lessons: one for each brief of a served challenger. A lesson with more labels counts more.
        usd: price of a sample by the configured prices, used before the first purchase.
    """
    mended: dict[FailureClass, float] = {}
    samples: dict[FailureClass, float] = {}
    for lesson in lessons:
        recovered = 1 - lesson.rate_since / lesson.rate_before if lesson.rate_before > 0 else 0.0
        trust = lesson.labels / (lesson.labels + _HALF_TRUST_LABELS)
        mended[lesson.failure] = mended.get(lesson.failure, 0.0) + trust * max(0.0, recovered)
        samples[lesson.failure] = samples.get(lesson.failure, 0.0) + trust * lesson.samples
    bought = sum(lesson.samples for lesson in lessons)
    paid = sum(lesson.usd for lesson in lessons)
    return Prices(
        recovery={
            failure: min(
                _MAX_RECOVERY,
                (mended[failure] + _PRIOR_SAMPLES * _PRIOR_RECOVERY) / (count + _PRIOR_SAMPLES),
            )
            for failure, count in samples.items()
        },
        usd=(paid / bought if bought and paid else usd) or _NOMINAL_USD,
        paid=bool(usd or paid),
    )


def allocate(
    claims: Sequence[Claim], prices: Prices, *, samples: int, most: int, chunk: int, usd: float
) -> list[int]:
    """Return the number of samples for each claim, allocated greedily.

    Each chunk goes to the claim where it is expected to fix most errors per dollar.

    Args:
        claims: requests; ties go to the earlier one.
        prices: the result of `learned`.
        samples: total number of samples.
        most: maximum samples of one intent.
        chunk: samples allocated at a time, as many as one request asks for.
        usd: total budget.
    """
    allocation = [0] * len(claims)
    of_intent: dict[str, int] = {}
    remaining = min(samples, int(usd / prices.usd + 1e-9))
    while remaining > 0:
        best_claim, best_gain = -1, 0.0
        for number, claim in enumerate(claims):
            room = min(chunk, remaining, most - of_intent.get(claim.intent, 0))
            if room <= 0:
                continue
            before = prices.recovered(claim.failure, claim.errors, allocation[number])
            after = prices.recovered(claim.failure, claim.errors, allocation[number] + room)
            gain = (after - before) / (room * prices.usd)
            if gain > best_gain * (1 + 1e-9):
                best_claim, best_gain = number, gain
        if best_claim < 0:
            break
        intent = claims[best_claim].intent
        step = min(chunk, remaining, most - of_intent.get(intent, 0))
        allocation[best_claim] += step
        of_intent[intent] = of_intent.get(intent, 0) + step
        remaining -= step
    return allocation
