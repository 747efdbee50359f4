"""What a person may do about a decision now, by the rules that would refuse everything else.

Nothing is offered that the same moment's `approve`, `reject` or `rollback` would refuse.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from flywheel import promotion
from flywheel.config import PromotionTable
from flywheel.errors import Refused
from flywheel.records import Decision
from flywheel.store import Connection, adapters


def offers(con: Connection, decision: Decision, table: PromotionTable) -> list[dict[str, Any]]:
    """What can be done, the most useful first.

    Returns:
        {"do": "approve" | "reject" | "label" | "rollback" | "turn"}; an approval has `override`:
        the gates that have to be overridden by name.
    """
    champion = adapters.champion(con)
    found: list[dict[str, Any]] = []
    if decision.status == "pending" and decision.rests_on.get("waits_for") == "labels":
        found.append({"do": "label"})
    overridden = promotion.gates_to_override(decision)
    if _approvable(decision, overridden, champion, table):
        found.append({"do": "approve", "override": list(overridden)})
    if _allowed(decision, "reject", champion):
        found.append({"do": "reject"})
    if decision.status == "applied" and decision.challenger == champion:
        if adapters.previous_champion(con) is not None:
            found.append({"do": "rollback"})
    elif not found:
        found.append({"do": "turn"})
    return found


def _approvable(
    decision: Decision, overridden: tuple[str, ...], champion: str | None, table: PromotionTable
) -> bool:
    judged = decision
    if promotion.lifts_rejection(decision, overridden):
        judged = dataclasses.replace(decision, status="pending")
    try:
        promotion.check_override(decision, overridden, table)
    except Refused:
        return False
    return _allowed(judged, "approve", champion)


def _allowed(
    decision: Decision, action: Literal["approve", "reject"], champion: str | None
) -> bool:
    try:
        promotion.ratify(decision, action, champion)
    except Refused:
        return False
    return True
