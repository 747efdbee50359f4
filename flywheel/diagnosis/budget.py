"""Where a turn's samples go: to the errors that a dollar is expected to mend most of.

The first samples for an intent mend more than later ones: with a share r of the errors that are
left mended by each sample, n samples leave (1 - r)^n of them. How large r is, and what a sample
costs, is learned for each kind of failure from what earlier turns bought.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flywheel.records import FailureClass

_RECOVERY = 0.03  # r before anything was learned
_MOST = 0.20
_TRUST = 40.0  # samples that the value before learning counts for
_LABELS = 10.0  # at which a lesson counts half
_USD = 0.001  # of a sample, where no price is known: only the order matters then


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What an earlier turn bought for an intent, and how the intent did before and since."""

    failure: FailureClass
    samples: int
    usd: float
    rate_before: float  # error rate, 0..1
    rate_since: float  # of the adapter that learned them
    labels: int  # that rate_since rests on


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What is known of samples for each kind of failure."""

    recovery: Mapping[FailureClass, float]  # r
    usd: float  # of a sample
    paid: bool = True  # False: nobody knows a price, and `usd` only orders what is asked

    def recovered(self, failure: FailureClass, errors: float, samples: int) -> float:
        """Return how many of `errors` so many samples are expected to mend."""
        left = (1 - self.recovery.get(failure, _RECOVERY)) ** samples
        return errors * (1 - left)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Errors of one kind of one intent."""

    intent: str
    failure: FailureClass
    errors: float


def learned(lessons: Sequence[Lesson], usd: float = 0.0) -> Prices:
    """Return what earlier turns teach; without any, every kind of failure is worth the same.

    Args:
        lessons: one for each brief that an earlier turn bought samples for, where they were served.
            The more labels say how it went, the more a lesson counts.
        usd: of a sample by the configured prices, for the time before the first purchase.
    """
    mended: dict[FailureClass, float] = {}
    samples: dict[FailureClass, float] = {}
    for lesson in lessons:
        gone = 1 - lesson.rate_since / lesson.rate_before if lesson.rate_before > 0 else 0.0
        known = lesson.labels / (lesson.labels + _LABELS)
        mended[lesson.failure] = mended.get(lesson.failure, 0.0) + known * max(0.0, gone)
        samples[lesson.failure] = samples.get(lesson.failure, 0.0) + known * lesson.samples
    bought = sum(lesson.samples for lesson in lessons)
    paid = sum(lesson.usd for lesson in lessons)
    return Prices(
        recovery={
            failure: min(_MOST, (mended[failure] + _TRUST * _RECOVERY) / (count + _TRUST))
            for failure, count in samples.items()
        },
        usd=(paid / bought if bought and paid else usd) or _USD,
        paid=bool(usd or paid),
    )


def allocate(
    claims: Sequence[Claim], prices: Prices, *, samples: int, most: int, chunk: int, usd: float
) -> list[int]:
    """Return samples for each claim: the next chunk goes where it mends most errors a dollar.

    Args:
        claims: what wants samples; ties go to the earlier one.
        prices: as `learned`.
        samples: to be given out in all.
        most: samples an intent may get.
        chunk: given out at a time; what one request asks for.
        usd: to be spent in all.
    """
    given = [0] * len(claims)
    of_intent: dict[str, int] = {}
    left = min(samples, int(usd / prices.usd + 1e-9))
    while left > 0:
        best, worth = -1, 0.0
        for number, claim in enumerate(claims):
            room = min(chunk, left, most - of_intent.get(claim.intent, 0))
            if room <= 0:
                continue
            before = prices.recovered(claim.failure, claim.errors, given[number])
            after = prices.recovered(claim.failure, claim.errors, given[number] + room)
            gain = (after - before) / (room * prices.usd)
            if gain > worth * (1 + 1e-9):
                best, worth = number, gain
        if best < 0:
            break
        name = claims[best].intent
        step = min(chunk, left, most - of_intent.get(name, 0))
        given[best] += step
        of_intent[name] = of_intent.get(name, 0) + step
        left -= step
    return given
