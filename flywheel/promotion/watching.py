"""Is the new champion corrected more often than the earlier one beside it? No I/O, no clock.

A key (a person, a conversation, else a request) is given one of two arms by lot: the new champion
with a known chance, else the earlier one. The first answer that is corrected under a key is one
bet on the arm that gave it; later ones of the same key are none, so one person who corrects much
says no more than another.

Where the new champion does no harm, who is corrected has nothing to do with the lot. Then each
bet's arm is the new one with exactly the known chance, whatever the keys, their numbers of
answers, and how hard traffic gets. The wealth of the bets is then a martingale, and passes 1/alpha
with a chance of at most alpha, however often it is looked at. Bets are only ever on the new arm,
and smaller for a later answer of a key. So a champion that is corrected later or less often than
the earlier one makes the wealth smaller still.

Source: Ville's inequality; Grünwald, de Heide and Koolen 2024, JRSS B 86.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flywheel.config.serving_tables import WatchTable
from flywheel.metrics import DECISIVE_E

NO_HARM_RATIO = 2.0
"""A champion is cleared once "corrected this many times as often" is refuted."""
AUDIT_WEIGHT = 0.2
"""Of the wealth, the part that is staked on the audit sample; the rest is on corrections."""

_RATIOS = (1.5, 2.0, 3.0)  # of corrected rates, new champion to earlier, that are bet on
_RATES = (0.1, 0.02)  # of an answer to be corrected: how soon the stake on a key's answers fades
_LARGEST_LOG = 700.0
_NORMAL_95 = 1.6449


@dataclass(frozen=True, slots=True)
class Bet:
    """The first corrected answer of a key."""

    new: bool  # the new champion gave it
    nth: int  # among the key's answers since the watch began; 1 is the first
    share: float  # chance by which the lot gave the key to the new champion, in 0..1

    def __post_init__(self) -> None:
        if self.nth < 1 or not 0 < self.share < 1:
            raise ValueError(f"answer {self.nth} of a key, share {self.share}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmCounts:
    """What one arm did since the watch began."""

    adapter: str
    answers: int = 0
    keys: int = 0
    corrected: int = 0  # keys with a corrected answer

    def __post_init__(self) -> None:
        if not 0 <= self.corrected <= self.keys <= self.answers:
            raise ValueError(
                f"arm {self.adapter}: {self.corrected} of {self.keys} keys, {self.answers} answers"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchVerdict:
    """What the watch says of a new champion now."""

    harmed: bool
    rollback: bool  # harmed, and `[watch] mode` is "rollback"
    cleared: bool  # that it is corrected twice as often is refuted
    e_value: float  # against "it is corrected as often as the earlier one, or less"
    threshold: float  # of `e_value`
    no_harm: float  # e-value against "it is corrected twice as often"
    detail: str


class HarmWealth:
    """Bets against "the new champion is corrected as often as the earlier one, or less".

    The mean, over ratios and rates, of the wealth of bets in proportion to the likelihood of the
    arm, were answers corrected at `rate` by the earlier champion and at `ratio` times that by the
    new one. The stake of a key's nth answer fades as that likelihood does, down to none.
    """

    def __init__(self) -> None:
        self._logs = [0.0] * (len(_RATIOS) * len(_RATES))

    def add(self, bet: Bet, many: int = 1) -> None:
        """Settle equal bets."""
        for place, factor in enumerate(_log_factors(bet)):
            self._logs[place] += many * factor

    @property
    def value(self) -> float:
        """The e-value of the bets so far; 1 before the first."""
        largest = max(self._logs)
        total = math.fsum(math.exp(log - largest) for log in self._logs) / len(self._logs)
        return math.exp(min(_LARGEST_LOG, largest + math.log(total)))


@functools.lru_cache(maxsize=4096)
def _log_factors(bet: Bet) -> tuple[float, ...]:
    """Logarithm of what each wealth is multiplied by."""
    factors = []
    for ratio in _RATIOS:
        for rate in _RATES:
            fading = (1 - ratio * rate) / (1 - rate)
            stake = max(1.0, ratio * fading ** (bet.nth - 1))
            won = math.log(stake) if bet.new else 0.0
            factors.append(won - math.log1p(bet.share * (stake - 1)))
    return tuple(factors)


def harm_e_value(bets: Iterable[Bet]) -> float:
    """Return the value of `HarmWealth` after these bets, in any order.

    >>> round(harm_e_value([Bet(True, 1, 0.1)] * 8 + [Bet(False, 1, 0.1)] * 20), 1)
    21.4
    """
    wealth = HarmWealth()
    for bet, many in Counter(bets).items():
        wealth.add(bet, many)
    return wealth.value


def no_harm_e_value(bets: Iterable[Bet], ratio: float = NO_HARM_RATIO) -> float:
    """Return the e-value against "first answers are corrected `ratio` times as often, or more".

    Only keys whose first answer was corrected count: of later ones, a key that corrects much is
    corrected once under either arm.

    >>> round(no_harm_e_value([Bet(False, 1, 0.1)] * 36 + [Bet(True, 1, 0.1)] * 2), 1)
    9.4
    """
    log = math.fsum(
        math.log1p(bet.share * (ratio - 1)) - (math.log(ratio) if bet.new else 0.0)
        for bet in bets
        if bet.nth == 1
    )
    return math.exp(min(_LARGEST_LOG, log))


def watch(
    arms: Sequence[ArmCounts], corrections: Sequence[Bet], audit: Sequence[Bet], table: WatchTable
) -> WatchVerdict:
    """Say whether the new champion does harm, by all that is known now.

    It may be asked at any time and any number of times. A mean of e-values is one, so corrections
    and the audit sample share `alpha`.

    Args:
        arms: the new champion, then the earlier one. A single arm shows nothing: corrections also
            rise when traffic gets harder.
        corrections: first answers that people corrected, one a key.
        audit: the same, of answers that were drawn by lot and labelled as wrong.
        table: `[watch]`.
    """
    threshold = 1 / table.alpha
    if len(arms) != 2 or not all(arm.answers for arm in arms):
        return WatchVerdict(
            harmed=False,
            rollback=False,
            cleared=False,
            e_value=1.0,
            threshold=threshold,
            no_harm=1.0,
            detail="nothing to compare with: no earlier champion answers beside this one",
        )
    wealth = (1 - AUDIT_WEIGHT) * harm_e_value(corrections) + AUDIT_WEIGHT * harm_e_value(audit)
    safe = (1 - AUDIT_WEIGHT) * no_harm_e_value(corrections)
    safe += AUDIT_WEIGHT * no_harm_e_value(audit)
    harmed = wealth >= threshold and table.mode != "off"
    new, earlier = arms
    return WatchVerdict(
        harmed=harmed,
        rollback=harmed and table.mode == "rollback",
        cleared=safe >= DECISIVE_E and not harmed,
        e_value=wealth,
        threshold=threshold,
        no_harm=safe,
        detail=f"{_words(new)}, {_words(earlier)}; E = {wealth:.3g} against {threshold:.3g}",
    )


def _words(arm: ArmCounts) -> str:
    return f"{arm.adapter} was corrected under {arm.corrected} of {arm.keys} keys"


def answers_to_see(ratio: float, corrected: float, share: float, alpha: float) -> int:
    """Return the answers of both arms after which a harm is seen with a chance of .95.

    By the normal approximation of the best bet, for keys of one answer each; where keys have many,
    it takes more answers, since a key is one bet.

    Args:
        ratio: of corrected rates, new champion to earlier, above 1.
        corrected: bets that an answer of the earlier champion brings, in 0..1.
        share: of keys that the new champion has.
        alpha: of `[watch]`.

    Raises:
        ValueError: the ratio is not above 1, or nothing is corrected.

    >>> answers_to_see(2.0, 0.05, 0.10, 0.01)
    8341
    """
    if ratio <= 1 or corrected <= 0:
        raise ValueError(f"ratio {ratio}, corrected {corrected}")
    chance = share * ratio / (1 + share * (ratio - 1))
    gains = [
        (math.log(bet / (1 + share * (bet - 1))), -math.log1p(share * (bet - 1))) for bet in _RATIOS
    ]
    needed = math.log(len(_RATIOS) / ((1 - AUDIT_WEIGHT) * alpha))
    bets = min(_bets_until(needed, chance, won, lost) for won, lost in gains)
    return math.ceil(bets / (corrected * (1 + share * (ratio - 1))))


def _bets_until(needed: float, chance: float, won: float, lost: float) -> float:
    """Bets after which a walk with these steps is above `needed` with a chance of .95."""
    drift = chance * won + (1 - chance) * lost
    if drift <= 0:
        return math.inf
    spread = _NORMAL_95 * (won - lost) * math.sqrt(chance * (1 - chance))
    root = (spread + math.sqrt(spread**2 + 4 * drift * needed)) / (2 * drift)
    return root**2


MULTIPLES = (2.0, 3.0, 5.0, 10.0, 20.0, 50.0)
"""Of an intent's corrected rate: the harms whose sight is worked out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentTraffic:
    """How often people correct the answers of one intent."""

    intent: str
    answers: int
    corrected: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """The smallest harm to one intent, the others unharmed, that a watch would see."""

    intent: str
    multiple: float | None  # of its corrected rate; None: none is seen
    answers: int | None  # of both arms, until then, with a chance of .95


def sight(
    traffic: Sequence[IntentTraffic], keys: int, share: float, table: WatchTable
) -> list[Sight]:
    """Say which harm to each intent would be seen within `table.answers`, and after how many.

    The watch is one test of all corrections: harm to one intent shows as far as it moves their
    sum. An intent that nobody corrects, or too few, cannot be seen.

    Args:
        traffic: each intent's recent answers.
        keys: under which any answer was corrected: the bets that the traffic brought.
        share: of keys that the new champion would answer.
        table: `[watch]`.
    """
    answers = sum(one.answers for one in traffic)
    corrected = sum(one.corrected for one in traffic)
    found = []
    for one in traffic:
        seen: tuple[float, int] | None = None
        for multiple in MULTIPLES if keys and one.corrected else ():
            if multiple * one.corrected > one.answers:
                break  # all its answers are corrected before
            ratio = 1 + (multiple - 1) * one.corrected / corrected
            needed = answers_to_see(ratio, keys / answers, share, table.alpha)
            if needed <= table.answers:
                seen = (multiple, needed)
                break
        found.append(
            Sight(
                intent=one.intent,
                multiple=seen[0] if seen else None,
                answers=seen[1] if seen else None,
            )
        )
    return found
