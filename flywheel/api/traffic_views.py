"""What `status` says of traffic beside its counts: what it cost."""

from __future__ import annotations

from dataclasses import asdict

from flywheel.api.personal import View
from flywheel.store import Connection, traffic
from flywheel.turn import Runtime
from flywheel.turn.curate import window_start


class TrafficCostView(View):
    """What the answers of one adapter cost in the window, as far as it is known."""

    adapter: str
    usd: float
    answers: int  # whose cost that is


def costs(runtime: Runtime, con: Connection) -> list[TrafficCostView]:
    """What answers cost in `[intents] window_days`, by adapter, the dearest first."""
    since = window_start(runtime, con)
    return [TrafficCostView(**asdict(each)) for each in traffic.costs(con, since)]
