"""Which intents stand beside those that samples are asked for: their border moves too.

Samples of one side of a confusion teach a model to take more for that side. So the other side
gets some of its own.

Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from flywheel.records import NONE, IntentHealth


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """An intent next to one that samples are asked for."""

    item: IntentHealth
    failing: str  # the one of those that it is confused with most often
    confusions: int  # with all of those


def beside(
    found: Sequence[IntentHealth], asked: Collection[str], known: Collection[str]
) -> tuple[Beside, ...]:
    """Return every intent that an asked one is confused with most often, and that is not asked.

    Args:
        found: as `health` gave it.
        asked: failing intents that samples are written for.
        known: names of the intents; `none` is no neighbour to write for.
    """
    of_name = {item.intent: item for item in found}
    shared: dict[str, Counter[str]] = {}
    nearest: set[str] = set()
    for item in found:
        if item.intent not in asked or item.intent == NONE:
            continue
        others = [(name, count) for name, count in item.confused_with if name in known]
        nearest.update(name for name, _ in others[:1])
        for name, count in others:
            shared.setdefault(name, Counter())[item.intent] += count
    return tuple(
        Beside(item=of_name[name], failing=counts.most_common(1)[0][0], confusions=counts.total())
        for name, counts in shared.items()
        if name in nearest and name in of_name and name != NONE and name not in asked
    )
