"""Agreement of two raters beyond chance, and the error rate of each rater.

`judge_raters` is Dawid and Skene's one-coin model. That model needs texts that several people
rated, and most production texts have one rater. So the opinion of a classifier that did not see
the label stands in for the other raters, as in Raykar et al.; it comes in as `Vote.doubt`.
Estimation is by expectation maximisation from a fixed start: the same votes give the same rates.

Sources: Dawid and Skene 1979, Applied Statistics 28; Raykar et al. 2010, JMLR 11.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from flywheel.metrics.distributions import betainc


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
    agreed = sum(first == second for first, second in pairs)
    if not n:
        return Agreement(n=0, agreed=0, raw=None, kappa=None)
    firsts, seconds = Counter(first for first, _ in pairs), Counter(second for _, second in pairs)
    by_chance = sum(count * seconds[label] for label, count in firsts.items())  # times n squared
    kappa = None
    if by_chance != n * n:
        kappa = (agreed * n - by_chance) / (n * n - by_chance)
    return Agreement(n=n, agreed=agreed, raw=agreed / n, kappa=kappa)


_ROUNDS = 25  # of expectation maximisation
_PRIOR_RATE, _PRIOR_VOTES = 0.10, 20  # prior share of wrong labels of all raters, in votes
_RATER_PRIOR_VOTES = 10  # votes that the average counts for in a rater's own rate
_WRONG_LABELS = 4  # plausible wrong labels of a text: two raters who err agree with chance 1/4
_LOWEST_RATE, _HIGHEST_RATE = 0.005, 0.98
_FALSE_ALARM_RATE = 0.05  # chance that at least one rater no worse than average is named
_MIN_RATIO = 1.5  # times the average share of wrong labels; below it no rater is named


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """One person's label of one text."""

    rater: str  # "" is an unknown rater, who gets the average rate
    text: str  # equal for votes on the same text
    label: str
    doubt: float = 1.0  # likelihood ratio of all other evidence, label wrong to label right


@dataclass(frozen=True, slots=True, kw_only=True)
class RaterTally:
    """Estimated reliability of one rater."""

    rater: str
    votes: int
    wrong: float  # estimated share of wrong labels, 0..1; near the average while votes are few
    errors: float  # expected number of wrong labels among the votes


@dataclass(frozen=True, slots=True, kw_only=True)
class Raters:
    """Estimates for all named raters, and the average over all votes."""

    known: tuple[RaterTally, ...]  # sorted by name
    usual: float  # share of wrong labels over all votes, those of unknown raters included

    def wrong(self, rater: str) -> float:
        """Estimated share of wrong labels of a rater, 0..1; the average for an unknown rater."""
        by_rater = {tally.rater: tally.wrong for tally in self.known}
        return by_rater.get(rater, self.usual)


def judge_raters(votes: Sequence[Vote]) -> Raters:
    """Estimate the share of wrong labels of each rater from doubt and from disagreement.

    The estimate of a rater with few votes is drawn to the average (a prior of ten votes).

    Raises:
        ValueError: a `doubt` is not above 0.

    >>> good = [Vote(rater="u-1", text=str(n), label="play", doubt=0.05) for n in range(20)]
    >>> bad = [Vote(rater="u-2", text=str(n), label="stop", doubt=40.0) for n in range(20)]
    >>> [round(tally.wrong, 2) for tally in judge_raters([*good, *bad]).known]
    [0.13, 0.79]
    """
    if any(vote.doubt <= 0 for vote in votes):
        raise ValueError("`doubt` is a ratio of likelihoods, above 0")
    votes_of_text: dict[str, list[int]] = defaultdict(list)
    votes_of_rater: dict[str, list[int]] = defaultdict(list)
    for number, vote in enumerate(votes):
        votes_of_text[vote.text].append(number)
        votes_of_rater[vote.rater].append(number)
    average, rates = _PRIOR_RATE, dict.fromkeys(votes_of_rater, _PRIOR_RATE)
    for _ in range(_ROUNDS):
        p_wrong = [0.0] * len(votes)
        for numbers in votes_of_text.values():
            if len(numbers) == 1:  # nobody else speaks of the text
                vote = votes[numbers[0]]
                p_wrong[numbers[0]] = _probability(_log_odds(rates[vote.rater], vote.doubt))
                continue
            evidence = _TextEvidence([votes[number] for number in numbers], rates)
            for number in numbers:
                p_wrong[number] = evidence.wrong(votes[number])
        total = math.fsum(p_wrong) + _PRIOR_RATE * _PRIOR_VOTES
        average = total / (len(votes) + _PRIOR_VOTES)
        for rater, numbers in votes_of_rater.items():
            expected_errors = (
                math.fsum(p_wrong[number] for number in numbers) + average * _RATER_PRIOR_VOTES
            )
            rates[rater] = (
                _clamped(expected_errors / (len(numbers) + _RATER_PRIOR_VOTES))
                if rater
                else _clamped(average)
            )
    tallies = [
        _tally(rater, rates[rater], [p_wrong[number] for number in votes_of_rater[rater]])
        for rater in sorted(votes_of_rater)
        if rater
    ]
    return Raters(known=tuple(tallies), usual=average)


def _tally(rater: str, error_rate: float, p_wrong: Sequence[float]) -> RaterTally:
    """One rater's estimate, given the probability of each of their votes to be wrong."""
    errors = min(math.fsum(p_wrong), len(p_wrong))
    return RaterTally(rater=rater, votes=len(p_wrong), wrong=error_rate, errors=errors)


def often_wrong(raters: Raters) -> tuple[RaterTally, ...]:
    """Return the raters who are significantly worse than the average, the worst first.

    Two conditions hold for each. The binomial tail of their errors under the average rate is at
    most 5 %, Bonferroni-corrected for the number of raters. Their share of wrong labels is
    more than 1.5 times the average. With about a dozen labels neither is reached by chance.

    >>> honest = [RaterTally(rater=f"u-{n}", votes=12, wrong=0.1, errors=3) for n in range(9)]
    >>> bad = RaterTally(rater="u-9", votes=60, wrong=0.4, errors=28)
    >>> [tally.rater for tally in often_wrong(Raters(known=(*honest, bad), usual=0.1))]
    ['u-9']
    """
    level = _FALSE_ALARM_RATE / max(1, len(raters.known))
    flagged = [
        tally
        for tally in raters.known
        if tally.errors > _MIN_RATIO * raters.usual * tally.votes
        and betainc(tally.errors, tally.votes - tally.errors + 1, raters.usual) <= level
    ]
    return tuple(sorted(flagged, key=lambda tally: (-tally.errors / tally.votes, tally.rater)))


class _TextEvidence:
    """Log-likelihood ratios that the votes on one text give for one another."""

    def __init__(self, votes: Sequence[Vote], rates: dict[str, float]) -> None:
        self._rates = rates
        self._same: dict[str, float] = defaultdict(float)  # by label, for a vote of that label
        self._other: dict[str, float] = defaultdict(float)  # by label, for a vote of another
        for vote in votes:
            self._same[vote.label] += _log_odds_same(rates[vote.rater])
            self._other[vote.label] += _log_odds_other(rates[vote.rater])
        self._other_total = math.fsum(self._other.values())

    def wrong(self, vote: Vote) -> float:
        """Posterior probability that one of the votes is wrong, 0..1."""
        rate = self._rates[vote.rater]
        log_odds = _log_odds(rate, vote.doubt)
        log_odds += self._same[vote.label] - _log_odds_same(rate)
        log_odds += self._other_total - self._other[vote.label]
        return _probability(log_odds)


def _log_odds(rate: float, doubt: float) -> float:
    """Log-odds of a wrong vote by its rater's rate and all evidence but other votes."""
    return math.log(rate / (1 - rate)) + math.log(doubt)


def _probability(log_odds: float) -> float:
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, log_odds))))


def _log_odds_same(rate: float) -> float:
    """Log-likelihood ratio, wrong to right, of a second vote with the same label."""
    return math.log(rate / _WRONG_LABELS / (1 - rate))


def _log_odds_other(rate: float) -> float:
    """Log-likelihood ratio, wrong to right, of a second vote with another label."""
    return math.log((1 - rate) / rate + 1 - 1 / _WRONG_LABELS)


def _clamped(rate: float) -> float:
    return min(_HIGHEST_RATE, max(_LOWEST_RATE, rate))
