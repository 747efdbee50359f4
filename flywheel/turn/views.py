"""What people and programs see of the wheel: the JSON of the commands and the routes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from flywheel.records import Adapter, Decision
from flywheel.store import (
    Connection,
    adapters,
    decisions,
    health,
    turns,
)
from flywheel.store.turns import Turn
from flywheel.turn import audit, comparison
from flywheel.turn.diagnose import intent_health
from flywheel.turn.evidence import of
from flywheel.turn.examples import moved, report_of, training
from flywheel.turn.offers import offers
from flywheel.turn.runtime import Wheel

_LISTED = 50  # newest turns and decisions in a listing


def intents(
    wheel: Wheel, *, failing_only: bool = False, scope: health.Scope = health.EVERYTHING
) -> list[dict[str, Any]]:
    """Health of each intent with its interval, the worst first; `audit`: by the audit sample."""
    with wheel.store.read() as con:
        found = intent_health(wheel, con, wheel.clock(), scope)
        audited = audit.by_intent(wheel, con) if scope == health.EVERYTHING else {}
    return [
        {
            **{field.name: getattr(item, field.name) for field in fields(item)},
            "audit": audited.get(item.intent),
            "confused_with": [
                {"intent": name, "count": count} for name, count in item.confused_with
            ],
        }
        for item in found
        if item.failing or not failing_only
    ]


def turns_view(wheel: Wheel) -> list[dict[str, Any]]:
    """The newest turns, newest first."""
    with wheel.store.read() as con:
        return [_turn(wheel, con, turn) for turn in turns.list_turns(con, _LISTED)]


def turn_view(wheel: Wheel, turn_id: str) -> dict[str, Any]:
    """One turn with its steps.

    Raises:
        NotFound: no such turn.
    """
    with wheel.store.read() as con:
        turn = turns.get(con, turn_id)
        view = _turn(wheel, con, turn)
    cursor = turn.cursor
    return {
        **view,
        "briefs": [
            {
                "intent": brief["intent"]["name"],
                "neighbour": brief["neighbour"]["name"] if brief["neighbour"] else None,
                "failure": brief.get("failure", "wrong_intent"),
                "ask": brief["ask"],
                "expected": brief.get("expected"),
                "usd": brief.get("usd"),
                "why": brief["why"],
            }
            for brief in cursor.get("briefs", ())
        ],
        "written": cursor.get("written", {}),
        "refused": cursor.get("refused", {}),
        "raters": cursor.get("raters", {}),
        "spread": cursor.get("spread", {}),
        "dataset": cursor.get("dataset"),
        "challenger": cursor.get("challenger"),
        "labels_wanted": cursor.get("labels_wanted", {}),
    }


def decisions_view(wheel: Wheel) -> list[dict[str, Any]]:
    """The newest decisions, newest first."""
    with wheel.store.read() as con:
        return [_decision(item) for item in decisions.list_decisions(con, limit=_LISTED)]


def decision_view(wheel: Wheel, decision_id: str) -> dict[str, Any]:
    """One decision with what a person needs to judge it.

    Raises:
        NotFound: no such decision.
    """
    with wheel.store.read() as con:
        decision = decisions.get(con, decision_id)
        turn = turns.get(con, decision.turn) if decision.turn else None
        report = report_of(con, decision)
        golden = of(report, "golden") if report else ()
        fixed, broken = moved(con, report)
        return {
            **_decision(decision),
            "intents": comparison.intent_lines(decision.intents, golden),
            "golden": comparison.golden(golden),
            "slices": comparison.slices(golden),
            "calibration": comparison.calibration(golden),
            "confusions": comparison.confusions(golden),
            "would": _would(decision),
            "summary": _summary(decision),
            "fixed": fixed,
            "broken": broken,
            "training": training(wheel, con, decision, turn),
            "labels_wanted": labels_wanted(con, [decision]) if decision.status == "pending" else {},
            "rests_on": dict(decision.rests_on),
            "offers": offers(con, decision, wheel.config.promotion),
            "events": decisions.events(con, decision_id),
        }


def adapters_view(wheel: Wheel) -> list[dict[str, Any]]:
    """Every adapter, newest first."""
    with wheel.store.read() as con:
        return [_adapter(item) for item in adapters.list_adapters(con)]


def _turn(wheel: Wheel, con: Connection, turn: Turn) -> dict[str, Any]:
    return {
        **turn_line(turn, wheel),
        "closed_at": turn.closed_at.isoformat() if turn.closed_at else None,
        "error": turn.error,
        "steps": [
            {name: getattr(step, name) for name in ("name", "state", "seconds", "detail")}
            for step in turns.steps(con, turn.id)
        ],
    }


def turn_line(turn: Turn, wheel: Wheel) -> dict[str, Any]:
    """A turn in a line: what it is, what opened it, how far it is."""
    return {
        "id": turn.id,
        "state": turn.state,
        "trigger": turn.trigger,
        "opened_at": turn.opened_at.isoformat(),
        "cost_usd": turn.cost_usd,
        "decision": turn.decision,
        "progress": _progress(turn, wheel),
    }


def _progress(turn: Turn, wheel: Wheel) -> dict[str, Any] | None:
    job = {
        "curate": f"{turn.id}-crossfit",
        "train": f"{turn.id}-train",
        "evaluate": f"{turn.id}-evaluate-{turn.cursor.get('round', 0)}",
    }.get(turn.state)
    latest = wheel.executor.progress(job) if job else None
    if latest is None:
        return None
    return {"done": latest.done, "detail": latest.detail, "eta_s": latest.eta_s}


def _decision(decision: Decision) -> dict[str, Any]:
    return {
        "id": decision.id,
        "turn": decision.turn,
        "challenger": decision.challenger,
        "champion": decision.champion,
        "verdict": decision.verdict,
        "status": decision.status,
        "waits_for": _waits_for(decision),
        "by": decision.by,
        "because": decision.because,
        "at": decision.at.isoformat(),
        "gates": [asdict(line) for line in decision.gates],
        "intents": [asdict(line) for line in decision.intents],
    }


def _waits_for(decision: Decision) -> str | None:
    """Labels or a person. The gates may have left it to nobody: who has the word can change."""
    if decision.status != "pending":
        return None
    waits = decision.rests_on.get("waits_for")
    return "a person" if waits == "nobody" else waits


def _adapter(adapter: Adapter) -> dict[str, Any]:
    return {
        "id": adapter.id,
        "base": adapter.base,
        "recipe": adapter.recipe,
        "dataset": adapter.dataset,
        "parent": adapter.parent,
        "created_at": adapter.created_at.isoformat(),
        "state": adapter.state,
        "metrics": dict(adapter.metrics),
    }


def _summary(decision: Decision) -> str:
    """The verdict in one sentence."""
    if decision.verdict == "rollback":
        return f"Rolled back from {decision.champion} to {decision.challenger}."
    failed = any(line.verdict == "FAIL" for line in decision.gates)
    said = {
        ("promote", "applied"): "was promoted",
        ("promote", "pending"): "passed the gates and waits for a person",
        ("hold", "pending"): "is held until a person decides"
        if decision.champion is None or failed
        else "is held: the evidence does not decide yet",
        ("hold", "applied"): "was promoted by a person",
        ("reject", "rejected"): "was refused",
        ("reject", "pending"): "was refused by the gates and waits for another person's approval",
        ("reject", "applied"): "was refused by the gates and promoted by a person",
    }.get((decision.verdict, decision.status), f"is {decision.status}")
    because = decision.because.rstrip(".")
    return f"{decision.challenger} {said}. {because[:1].upper()}{because[1:]}."


def _would(decision: Decision) -> str:
    """What approving it would do; "" once there is nothing left to decide."""
    if decision.status != "pending":
        return ""
    replaced = f"{decision.champion} is retired and can be brought back by a rollback"
    if decision.champion is None:
        replaced = "it is the first champion"
    missing = [line.gate for line in decision.gates if line.verdict != "PASS"]
    without = f" Gates that did not pass: {', '.join(missing)}." if missing else ""
    return f"The link adapters/champion moves to {decision.challenger}; {replaced}.{without}"


def labels_wanted(con: Connection, waiting: Sequence[Decision]) -> dict[str, int]:
    """Labels, by intent, that would decide what waits."""
    wanted: dict[str, int] = {}
    for decision in waiting:
        if decision.turn and turns.get(con, decision.turn).decision == decision.id:
            wanted.update(turns.get(con, decision.turn).cursor.get("labels_wanted", {}))
    return wanted
