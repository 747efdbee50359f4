"""What a step of the turn gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from flywheel.store import Connection


def _nothing(con: Connection) -> None:
    """Write nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """A finished step: where the turn goes next, and what is written with that move."""

    next_state: str  # a step's name, or a state of ENDED
    detail: str  # one sentence for `turn show`
    outputs: Mapping[str, Any] = field(default_factory=dict)  # JSON, read by later steps
    writes: Callable[[Connection], None] = _nothing  # in the same transaction as the move
    state: Literal["done", "skipped"] = "done"
    cost_usd: float = 0.0
