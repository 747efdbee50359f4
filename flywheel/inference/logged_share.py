"""Which answers are logged where not all are, and how many each logged one stands for.

Pure: no I/O, no clock. Which ones is a lot by the hash of the answer's id, so it says nothing of
what was asked or answered. The next logged answer of an intent stands for those of that intent
that were left out before it, so counts and costs summed over logged answers are the true ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_WHOLE = 1 << 64


@dataclass(frozen=True, slots=True)
class StandsFor:
    """What one logged answer stands for, itself included."""

    answers: int = 1
    cost_usd: float | None = None  # of all of them; None where no cost is known

    def plus(self, other: StandsFor) -> StandsFor:
        """What both stand for together."""
        known = [cost for cost in (self.cost_usd, other.cost_usd) if cost is not None]
        return StandsFor(self.answers + other.answers, sum(known) if known else None)


class LoggedShare:
    """Chooses the answers that are logged. One thread at a time.

    What a crash loses of it is at most what was left out since the intent's last logged answer:
    with a share of 0.1, nine answers an intent on average. The answers that are logged, and so
    all that people judge, lose nothing.

    Args:
        share: of all answers, 0..1; at 0 none is logged.
        left_out: what `state` said before the last stop.

    >>> share = LoggedShare(0.5)
    >>> [share.stands_for(f"p-{n}", "set_alarm", cost_usd=0.5) for n in (3, 2, 1)]
    [None, None, StandsFor(answers=3, cost_usd=1.5)]
    """

    def __init__(self, share: float, left_out: Mapping[str, Any] | None = None) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"a share of {share} is not in 0..1")
        self._bar = int(share * _WHOLE)
        self._left_out: dict[str, StandsFor] = {}
        for intent, (answers, cost_usd) in (left_out or {}).items():
            self._left_out[intent] = StandsFor(answers, cost_usd)

    def stands_for(
        self, answer_id: str, intent: str, cost_usd: float | None = None
    ) -> StandsFor | None:
        """Say what a new answer stands for in the log; None: it is left out.

        Args:
            answer_id: the prediction's id; asked once an answer.
            intent: that was answered.
            cost_usd: of this answer; None where it is not known.
        """
        this = StandsFor(1, cost_usd)
        if _lot(answer_id) >= self._bar:
            self.leave_out(intent, this)
            return None
        before = self._left_out.pop(intent, None)
        return this if before is None else this.plus(before)

    def leave_out(self, intent: str, what: StandsFor) -> None:
        """Have the next logged answer of the intent stand for these too: the log was full."""
        before = self._left_out.get(intent)
        self._left_out[intent] = what if before is None else what.plus(before)

    def state(self) -> dict[str, tuple[int, float | None]]:
        """What the next start needs to go on, as JSON takes it."""
        return {intent: (one.answers, one.cost_usd) for intent, one in self._left_out.items()}


def _lot(answer_id: str) -> int:
    """A number below `_WHOLE`, the same for an id wherever it is drawn."""
    return int.from_bytes(hashlib.blake2b(answer_id.encode(), digest_size=8).digest())
