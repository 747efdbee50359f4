"""What `status` says of traffic beside its counts: what it cost, and what it lacks to make a first
champion."""

from __future__ import annotations

from dataclasses import asdict

from flywheel.api.personal import View
from flywheel.store import Connection, traffic
from flywheel.turn import Runtime
from flywheel.turn.curate import window_start
from flywheel.turn.first_champion import needs


class TrafficCostView(View):
    """What the answers of one adapter cost in the window, as far as it is known."""

    adapter: str
    usd: float
    answers: int  # whose cost that is


class NeedView(View):
    """How much there is of something, and how much it takes."""

    have: int
    need: int


class FirstChampionView(View):
    """What a first champion still needs; a split counts labels that are not in effect yet."""

    seeds: NeedView  # labelled texts to learn from
    dev: NeedView
    golden: NeedView
    intents: NeedView  # with a text to learn from
    traffic: bool  # `flywheel samples label` asks texts of it
    ready: bool  # a turn can train and judge one


def of_traffic(
    runtime: Runtime, con: Connection
) -> tuple[FirstChampionView | None, list[TrafficCostView]]:
    """What a first champion needs, and what answers cost."""
    return first_champion(runtime, con), costs(runtime, con)


def first_champion(runtime: Runtime, con: Connection) -> FirstChampionView | None:
    """What a first champion needs; None where there is a champion."""
    first = needs(runtime.config, con)
    if first is None:
        return None
    counted = {
        name: NeedView(have=need.have, need=need.need)
        for name in ("seeds", "dev", "golden", "intents")
        for need in [getattr(first, name)]
    }
    return FirstChampionView(**counted, traffic=first.traffic, ready=first.ready)


def costs(runtime: Runtime, con: Connection) -> list[TrafficCostView]:
    """What answers cost in `[intents] window_days`, by adapter, the dearest first."""
    since = window_start(runtime, con)
    return [TrafficCostView(**asdict(each)) for each in traffic.costs(con, since)]
