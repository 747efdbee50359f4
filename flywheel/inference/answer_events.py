"""What was asked and answered, as an event for the answer log: the native form of a prediction."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from flywheel.inference.batching import GivenAnswer
from flywheel.records import ArmName


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedText:
    """A text to be answered, and what the request says of it."""

    id: str  # of the prediction, and of the answer
    text: str
    session: str = ""
    rater: str = ""  # who asked
    slices: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()  # other ids of the answer
    tools: str = ""  # fingerprint of the tool list that was offered
    arm: ArmName = ""  # that the lot gave to its key


def new_id(prefix: str) -> str:
    """A name that nothing else has.

    >>> new_id("p")[:2], len(new_id("p"))
    ('p-', 26)
    """
    return f"{prefix}-{secrets.token_hex(12)}"


def event_of(asked: AskedText, answer: GivenAnswer, ts: float, latency_ms: float) -> dict[str, Any]:
    """The prediction, as `POST /v1/predictions` takes it.

    Args:
        asked: the text.
        answer: what it was answered with.
        ts: when the request came, in seconds since 1970.
        latency_ms: from then until it was answered.
    """
    event: dict[str, Any] = {
        "id": asked.id,
        "ts": datetime.fromtimestamp(ts, UTC),
        "text": asked.text,
        "intent": answer.intent,
        "arguments": answer.arguments,
        "confidence": min(max(float(answer.confidence), 0.0), 1.0),
        "adapter": answer.adapter,
        "latency_ms": round(latency_ms, 3),
    }
    for name in ("session", "rater", "slices", "aliases", "tools", "arm"):
        if value := getattr(asked, name):
            event[name] = value
    return event
