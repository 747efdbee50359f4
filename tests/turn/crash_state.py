"""What a turn left behind, less its stopwatch: equal for equal turns."""

from __future__ import annotations

from pathlib import Path

from flywheel.store import golden_set, turns
from flywheel.store.samples import refusals
from tests.fakes import json_views as views


def state_of(runtime) -> dict:
    """Every table a turn writes, less its stopwatch."""
    with runtime.store.read() as con:
        latest = turns.list_turns(con, 1)[0]
        refused = [(r.sample.id, r.reason) for r in refusals(con, latest.id)]
        ledger = [(row["turn"], row["challenger"]) for row in golden_set.queries(con, 1)]
    view = views.turn_view(runtime, latest.id)
    steps = [(s["name"], s["state"], s["detail"]) for s in view["steps"]]
    return {
        "turn": {**view, "steps": steps},
        "decisions": [views.decision_view(runtime, d["id"]) for d in views.decisions_view(runtime)],
        "adapters": views.adapters_view(runtime),
        "refused": sorted(refused),
        "ledger": ledger,
        "intents": views.intents(runtime),
    }


def files_of(folder: Path) -> set[str]:
    places = ("datasets", "adapters", "jobs")
    return {
        str(path.relative_to(folder))
        for place in places
        for path in (folder / "var" / place).rglob("*")
    }
