"""What is asked, and in which order: the answers that are worth most come first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["gate", "audit", "conflict", "uncertain"]
KINDS: tuple[Kind, ...] = ("gate", "audit", "conflict", "uncertain")
"""From the most valuable: what lets a held challenger be decided; what says how production does;
what raters disagree on; what the model is least sure of."""

BLIND: frozenset[str] = frozenset({"gate", "audit"})
"""Kinds whose labels are evidence on models: who labels them sees no model's answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One text that a person is asked about."""

    id: str  # "KIND:" and the prediction's id, or for a conflict a hash of the text
    kind: Kind
    text: str
    prediction: str | None = None
    guesses: tuple[str, ...] = ()  # likeliest first; never for a blind kind
    said: tuple[str, ...] = ()  # labels that people or raters gave it and that differ
    again: bool = False  # somebody has answered it; this is a second opinion, or the dispute
    rank: tuple[float, str] = (0.0, "")  # within its kind, the least first

    def __post_init__(self) -> None:
        if self.kind in BLIND and self.guesses:
            raise ValueError(f"item {self.id}: a model's answer must not be shown with it")


def item_id(kind: Kind, key: str) -> str:
    """Return the name of what is asked."""
    return f"{kind}:{key}"


def kind_and_key(item: str) -> tuple[Kind, str]:
    """Return what `item_id` was given.

    Raises:
        ValueError: it is no item's name.
    """
    kind, colon, key = item.partition(":")
    if kind not in KINDS or not colon or not key:
        raise ValueError(f"`{item}` names no item")
    return kind, key


def ordered(items: Iterable[Item]) -> list[Item]:
    """Return each item once, by value: by kind, second opinions first, then by rank.

    Second opinions are few, and would never be asked behind a stream that does not end.
    """
    once = {item.id: item for item in items}
    return sorted(
        once.values(), key=lambda item: (KINDS.index(item.kind), not item.again, item.rank, item.id)
    )
