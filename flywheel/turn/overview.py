"""What the daemon is doing, what waits for a person, and what is wrong: the answer of `status`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from flywheel import __version__
from flywheel.records import Decision
from flywheel.store import Connection, adapters, archive, decisions, events, golden_set, turns
from flywheel.turn import audit, control, views
from flywheel.turn.runtime import Wheel


def status(
    wheel: Wheel,
    *,
    uptime_s: float,
    next_turn: str | None,
    sources: Sequence[Mapping[str, Any]] = (),
    problems: Sequence[str] = (),
) -> dict[str, Any]:
    """What the daemon is doing, and what waits for a person."""
    with wheel.store.read() as con:
        gone = archive.archived(con)
        generation = golden_set.current_generation(con)
        running = turns.open_turns(con)
        waiting = decisions.list_decisions(con, status="pending")
        champion = adapters.champion(con)
        counted = _backlog(con, waiting)
        audited = audit.accuracy(wheel, con)
        found = [*problems, *_problems(con, champion)]
    capacity = wheel.config.gates.overall.queries
    return {
        "version": __version__,
        "uptime_s": round(uptime_s, 1),
        "champion": champion,
        "turn": views.turn_line(running[0], wheel) if running else None,
        "next_turn": next_turn,
        "backlog": {**counted, "held": [decision.id for decision in waiting]},
        "audit": audited,
        "sources": list(sources),
        "archive": {
            **asdict(gone),
            "keep_days": wheel.config.flywheel.keep_days,
            "before": gone.before.isoformat() if gone.before else None,
        },
        "golden": {
            "generation": generation.number if generation else None,
            "rows": generation.rows if generation else 0,
            "queries_left": max(0, capacity - generation.queries_used) if generation else 0,
        },
        "problems": found,
    }


def _backlog(con: Connection, waiting: Sequence[Decision]) -> dict[str, Any]:
    counts = events.counts(con)
    return {
        "predictions": counts.predictions,
        "feedback": counts.feedback,
        "labelled": counts.labelled,
        "waiting_feedback": counts.waiting_feedback,
        "rejected": counts.rejected,
        "id_conflicts": events.count(con),
        "labels_wanted": views.labels_wanted(con, waiting),
    }


def _problems(con: Connection, champion: str | None) -> list[str]:
    found = []
    lacks = control.missing(con)
    found += [f"no turn can be opened: {each}" for each in lacks]
    if champion is None and not lacks:
        found.append("no champion yet: `flywheel turn start --wait`")
    latest = turns.list_turns(con, 1)
    if latest and latest[0].state == "failed":
        found.append(f"{latest[0].id} failed: {latest[0].error}")
    return found
