"""Counts of labelled predictions by what was predicted and what was right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentPair:
    """How often one intent was predicted where another (or the same) was right."""

    predicted: str
    truth: str | None  # None: judged incorrect, and nobody said what was right
    correct: bool  # False also where the intent was right and the arguments were not
    count: int

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError(f"pair {self.predicted}/{self.truth}: `count` is {self.count}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tallies:
    """Production over one window of time."""

    volume: Mapping[str, int] = field(default_factory=dict)  # predictions by predicted intent
    pairs: tuple[IntentPair, ...] = ()  # labelled predictions
