"""May a person approve what a gate did not pass? Pure; the answer is kept with the approval."""

from __future__ import annotations

from collections.abc import Sequence

from flywheel.config import PromotionTable
from flywheel.errors import Refused
from flywheel.records import Decision

NEVER = frozenset({"hygiene"})
"""A leak makes every other figure worthless: no word of a person mends that."""


def needed(decision: Decision) -> tuple[str, ...]:
    """Gates that must be overridden by name before a person's approval counts.

    None where the gates left the word to a person; what waits for labels, or what the gates
    rejected, needs every gate that did not pass, of each person who approves it.
    """
    labels = decision.rests_on.get("waits_for") == "labels"
    if decision.status == "pending" and not labels and decision.verdict != "reject":
        return ()
    return tuple(line.gate for line in decision.gates if line.verdict != "PASS")


def check(decision: Decision, asked: Sequence[str], table: PromotionTable) -> None:
    """Refuse an approval that overrides too little, too much, or what may not be.

    Raises:
        Refused: the message names the gate.
    """
    undecided = {line.gate for line in decision.gates if line.verdict != "PASS"}
    for name in asked:
        if name in NEVER:
            raise Refused(f"{name} can never be overridden", hint="mend it, and start a new turn")
        if name not in table.allow_override:
            raise Refused(
                f"{name} may not be overridden here",
                hint="[promotion] allow_override names the gates that may",
            )
        if name not in undecided:
            raise Refused(f"{name} needs no override: it passed, or had no word")
    if missing := [name for name in needed(decision) if name not in asked]:
        raise Refused(
            f"{decision.id}: {', '.join(missing)} did not pass",
            hint="import the labels it waits for, or approve with "
            + " ".join(f"--override {name}" for name in missing),
        )


def revives(decision: Decision, asked: Sequence[str]) -> bool:
    """Whether this is the gates' own rejection, which an override may lift; a person's stays."""
    return bool(asked) and decision.status == "rejected" and decision.by == "gates"
