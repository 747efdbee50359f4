"""How far people agree beyond chance, and how often each rater's labels are wrong."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import betainc


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Two people's labels of the same items."""

    n: int
    agreed: int
    raw: float | None  # agreed / n; None without items
    kappa: float | None  # 1: always, 0: as often as by chance; None where chance always agrees


def agreement(pairs: Sequence[tuple[str, str]]) -> Agreement:
    """Return raw agreement and Cohen's kappa of (first label, second label) pairs.

    Source: Cohen 1960, Educational and Psychological Measurement 20.

    >>> pairs = [("a", "a")] * 20 + [("a", "b")] * 5 + [("b", "a")] * 10 + [("b", "b")] * 15
    >>> round(agreement(pairs).kappa, 3)
    0.4
    """
    n = len(pairs)
    agreed = sum(one == other for one, other in pairs)
    if not n:
        return Agreement(n=0, agreed=0, raw=None, kappa=None)
    firsts, seconds = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    by_chance = sum(count * seconds[label] for label, count in firsts.items())  # times n squared
    kappa = None
    if by_chance != n * n:
        kappa = (agreed * n - by_chance) / (n * n - by_chance)
    return Agreement(n=n, agreed=agreed, raw=agreed / n, kappa=kappa)


# How often each rater's labels are wrong, where most texts are rated by one person only.
#
# Dawid and Skene's one-coin model needs texts that several people rated. A classifier that did not
# see the label stands in for the others, as in Raykar et al.: what it says of a label comes in as
# `doubt`. Pure; by expectation and maximisation, so the same votes always give the same answer.
#
# Sources: Dawid and Skene 1979, Applied Statistics 28; Raykar et al. 2010, JMLR 11.

_ROUNDS = 25
_USUAL, _USUAL_VOTES = 0.10, 20  # what anybody is taken for, as so many votes
_OWN_VOTES = 10  # a rater is taken for the average, as so many votes, until their own say more
_CHOICES = 4  # plausible wrong labels of a text; two who err agree by chance in one of so many
_NEVER, _ALWAYS = 0.005, 0.98
_NAMED = 0.05  # chance that any rater is named who is no worse than the average
_FAR = 1.5  # times the average share of wrong labels, below which nobody is named


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """One person's label of one text."""

    rater: str  # "" is unknown: counted with the average
    text: str  # equal for votes on the same text
    label: str
    doubt: float = 1.0  # how much likelier all else is if this label is wrong than if it is right


@dataclass(frozen=True, slots=True, kw_only=True)
class RaterTally:
    """One rater."""

    rater: str
    votes: int
    wrong: float  # estimated share of wrong labels, 0..1; near the average while votes are few
    errors: float  # expected number of wrong labels among the votes


@dataclass(frozen=True, slots=True, kw_only=True)
class Raters:
    """All of them, and the average."""

    known: tuple[RaterTally, ...]  # by name
    usual: float  # share of wrong labels over all votes, unknown raters among them

    def wrong(self, rater: str) -> float:
        """Estimated share of wrong labels of a rater; the average for one who is not known."""
        found = {tally.rater: tally.wrong for tally in self.known}
        return found.get(rater, self.usual)


def judge_raters(votes: Sequence[Vote]) -> Raters:
    """Estimate how often each rater is wrong, from doubt and from disagreement.

    A rater with few votes is taken for the average, so nobody is condemned by one bad day.

    Raises:
        ValueError: a `doubt` is not above 0.

    >>> good = [Vote(rater="u-1", text=str(n), label="play", doubt=0.05) for n in range(20)]
    >>> bad = [Vote(rater="u-2", text=str(n), label="stop", doubt=40.0) for n in range(20)]
    >>> [round(tally.wrong, 2) for tally in judge_raters([*good, *bad]).known]
    [0.13, 0.79]
    """
    if any(vote.doubt <= 0 for vote in votes):
        raise ValueError("`doubt` is a ratio of likelihoods, above 0")
    of_text: dict[str, list[int]] = defaultdict(list)
    of_rater: dict[str, list[int]] = defaultdict(list)
    for number, vote in enumerate(votes):
        of_text[vote.text].append(number)
        of_rater[vote.rater].append(number)
    usual, rates = _USUAL, dict.fromkeys(of_rater, _USUAL)
    for _ in range(_ROUNDS):
        wrong = [0.0] * len(votes)
        for numbers in of_text.values():
            heard = _Heard([votes[number] for number in numbers], rates)
            for number in numbers:
                wrong[number] = heard.wrong(votes[number])
        total = math.fsum(wrong) + _USUAL * _USUAL_VOTES
        usual = total / (len(votes) + _USUAL_VOTES)
        for rater, numbers in of_rater.items():
            own = math.fsum(wrong[number] for number in numbers) + usual * _OWN_VOTES
            rates[rater] = _within(own / (len(numbers) + _OWN_VOTES)) if rater else _within(usual)
    known = [
        RaterTally(
            rater=rater,
            votes=len(of_rater[rater]),
            wrong=rates[rater],
            errors=min(
                math.fsum(wrong[number] for number in of_rater[rater]), len(of_rater[rater])
            ),
        )
        for rater in sorted(of_rater)
        if rater
    ]
    return Raters(known=tuple(known), usual=usual)


def often_wrong(raters: Raters) -> tuple[RaterTally, ...]:
    """Return the raters of whom it is shown that they err more often than most, the worst first.

    Shown: as many wrong labels as theirs would be chance in at most 5 % of cases for anybody among
    them all (a binomial tail, corrected for the number of raters), and the share is half as large
    again as the average. So a dozen labels name nobody who has bad luck.

    >>> honest = [RaterTally(rater=f"u-{n}", votes=12, wrong=0.1, errors=3) for n in range(9)]
    >>> bad = RaterTally(rater="u-9", votes=60, wrong=0.4, errors=28)
    >>> [each.rater for each in often_wrong(Raters(known=(*honest, bad), usual=0.1))]
    ['u-9']
    """
    level = _NAMED / max(1, len(raters.known))
    found = [
        tally
        for tally in raters.known
        if tally.errors > _FAR * raters.usual * tally.votes
        and betainc(tally.errors, tally.votes - tally.errors + 1, raters.usual) <= level
    ]
    return tuple(sorted(found, key=lambda tally: (-tally.errors / tally.votes, tally.rater)))


class _Heard:
    """What the votes on one text say of one another, as logarithms of ratios of likelihoods."""

    def __init__(self, votes: Sequence[Vote], rates: dict[str, float]) -> None:
        self._rates = rates
        self._alike: dict[str, float] = defaultdict(float)  # by label, for a vote of that label
        self._unlike: dict[str, float] = defaultdict(float)  # by label, for a vote of another
        for vote in votes:
            self._alike[vote.label] += _alike(rates[vote.rater])
            self._unlike[vote.label] += _unlike(rates[vote.rater])
        self._all_unlike = math.fsum(self._unlike.values())

    def wrong(self, vote: Vote) -> float:
        """Chance that one of the votes is wrong."""
        rate = self._rates[vote.rater]
        log_odds = math.log(rate / (1 - rate)) + math.log(vote.doubt)
        log_odds += self._alike[vote.label] - _alike(rate)
        log_odds += self._all_unlike - self._unlike[vote.label]
        return 1 / (1 + math.exp(-max(-60.0, min(60.0, log_odds))))


def _alike(rate: float) -> float:
    return math.log(rate / _CHOICES / (1 - rate))


def _unlike(rate: float) -> float:
    return math.log((1 - rate) / rate + 1 - 1 / _CHOICES)


def _within(rate: float) -> float:
    return min(_ALWAYS, max(_NEVER, rate))
