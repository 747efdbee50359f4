"""What a turn would ask its teacher now, and what that would cost. Buys and writes nothing."""

from __future__ import annotations

from typing import Any

from flywheel.records import Brief
from flywheel.turn import diagnose
from flywheel.turn.diagnose import wanted
from flywheel.turn.runtime import Wheel


def preview(wheel: Wheel) -> dict[str, Any]:
    """Return the prompts of the next turn as they would leave the machine, with estimates."""
    with wheel.store.read() as con:
        _, briefs = wanted(wheel, con)
    asked = [_brief(wheel, brief) for brief in briefs]
    return {
        "requests": sum(len(brief["prompts"]) for brief in asked),
        "samples": sum(brief["ask"] for brief in asked),
        "usd": round(sum(brief["usd"] for brief in asked), 6),
        "max_usd": wheel.config.synthesis.max_usd,
        "briefs": asked,
    }


def _line(brief: Brief) -> dict[str, Any]:
    """One brief as `turn show` prints it: what is asked for, why, and what it is hoped to mend."""
    return {
        "intent": brief.intent.name,
        "neighbour": brief.neighbour.name if brief.neighbour else None,
        "failure": brief.failure,
        "ask": brief.ask,
        "expected": brief.expected,
        "why": brief.why,
    }


def _brief(wheel: Wheel, brief: Brief) -> dict[str, Any]:
    requests, usd = diagnose.of_brief(wheel, brief)
    return {
        **_line(brief),
        "usd": round(usd, 6),
        "prompts": [request.messages[-1]["content"] for request in requests],
    }
