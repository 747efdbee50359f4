"""When is the next golden generation wanted, and how large? Pure; the time is an argument."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from flywheel.config.tables import GatesTable
from flywheel.gates.outlook import golden_that_pays
from flywheel.records import Intent

_LAST = 5  # of a generation's queries one in so many is left when the next is asked for
_AHEAD = timedelta(days=14)  # or it is worn within so long


@dataclass(frozen=True, slots=True, kw_only=True)
class NextGeneration:
    """The golden generation to come."""

    each: Mapping[str, int]  # rows to import, by intent
    by: datetime | None  # when this one is worn, at the pace of its queries; None: not known
    due: bool  # it is time to collect them

    @property
    def rows(self) -> int:
        """Rows in all."""
        return sum(self.each.values())


def next_generation(
    asked: Sequence[datetime], known: Sequence[Intent], table: GatesTable, now: datetime
) -> NextGeneration:
    """Say when a generation is worn at the pace of its queries, and what the next one takes.

    Args:
        asked: when this generation was queried, oldest first.
        known: the intents in force.
        table: `[gates]`.
        now: aware.
    """
    capacity = table.overall.queries
    left = max(0, capacity - len(asked))
    by = None
    if not left:
        by = now
    elif len(asked) > 1:
        by = max(now, asked[-1] + left * (asked[-1] - asked[0]) / (len(asked) - 1))
    few = bool(asked) and left <= capacity // _LAST
    return NextGeneration(
        each=golden_that_pays(known, table).each,
        by=by,
        due=few or (by is not None and by - now <= _AHEAD and len(asked) > _LAST),
    )
