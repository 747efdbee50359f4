"""Which key gets which champion while a promotion is watched, and what may never be an arm. Pure.

The lot is by a hash of the watch's salt and the key: a key keeps its arm, two watches draw apart,
and whoever knows the salt can draw again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from flywheel.records import ArmName, DecisionEvent

NEW: ArmName = "champion"
EARLIER: ArmName = "earlier"

_WHOLE = 1 << 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmPlan:
    """Two adapters that answer beside each other.

    >>> plan = ArmPlan(champion="a-2", earlier="a-1", share=0.1, salt="d-7")
    >>> sum(plan.gives_new(f"u-{n}") for n in range(1000))
    97
    """

    champion: str  # the new one
    earlier: str  # champion before it
    share: float  # of keys that the new one answers
    salt: str  # of the lot

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"a share of {self.share} leaves one arm empty")
        if self.champion == self.earlier:
            raise ValueError(f"{self.champion} cannot be both arms")

    def gives_new(self, key: str) -> bool:
        """Whether the new champion answers this key."""
        named = f"{self.salt}\x1f{key}".encode("utf-8", "surrogatepass")
        lot = int.from_bytes(hashlib.blake2b(named, digest_size=8).digest())
        return lot < self.share * _WHOLE


def key_of(rater: str, session: str, prediction: str) -> str:
    """What an answer's arm sticks to: who asks, else the conversation, else the answer alone."""
    return rater or session or prediction


def barred(events: Sequence[DecisionEvent], adapter: str) -> str:
    """Return why an adapter may not be an arm: it was rejected or rolled back; "" where it may.

    Args:
        events: that applied or rejected, oldest first. Whoever decided, a later promotion of the
            adapter, or a rollback to it, lifts what was before.
        adapter: that would answer beside the champion.
    """
    why = ""
    for event in events:
        away = event.verdict == "rollback" and event.champion == adapter
        if event.status == "applied" and away:
            why = f"{event.by} rolled {adapter} back in {event.decision}"
        elif event.challenger != adapter:
            continue
        elif event.status == "applied":
            why = ""
        elif event.status == "rejected" and event.verdict != "rollback":
            why = f"{event.by} rejected {adapter} in {event.decision}"
    return why
