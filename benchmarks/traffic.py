"""What production would send: utterances with few intents often and many seldom, and raters who
err. Pure; the same seed sends the same."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from partition import Partition, Row

from flywheel.records import NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How much of it there is, in one turn."""

    utterances: int = 3000
    rated: int = 600  # distinct texts that get feedback, each once in the whole run
    out_of_scope: float = 0.05  # share of the utterances
    wrong: float = 0.10  # share of the feedback


class Traffic:
    """Turn after turn of utterances; remembers which texts were rated already."""

    def __init__(self, partition: Partition, load: Load, seed: int) -> None:
        self._partition = partition
        self._load = load
        self._chance = random.Random(f"traffic {seed}")
        self._ranked = [name for name in partition.intents if partition.traffic[name]]
        self._chance.shuffle(self._ranked)
        self._rated: set[str] = set()

    def utterances(
        self, *, steep: float = 1.0, shift: int = 0, window: tuple[float, float] = (0.0, 1.0)
    ) -> list[Row]:
        """One turn's utterances, drawn with replacement: intents by 1/rank, texts evenly.

        Args:
            steep: exponent of the rank.
            shift: places that every intent's rank has moved on since the start.
            window: the part of each intent's texts that is said now, as shares of their order.
        """
        ranked = self._ranked[-shift % len(self._ranked) :]
        ranked += self._ranked[: -shift % len(self._ranked)]
        weights = [1 / rank**steep for rank in range(1, len(ranked) + 1)]
        names = self._chance.choices(ranked, weights, k=self._load.utterances)
        outside = self._partition.traffic[NONE]
        return [
            self._chance.choice(
                outside
                if outside and self._chance.random() < self._load.out_of_scope
                else _part(self._partition.traffic[name], window)
            )
            for name in names
        ]

    def rated(self, utterances: Sequence[Row]) -> list[int]:
        """Positions of the utterances that get feedback: distinct texts not rated before."""
        first: dict[str, int] = {}
        for position, row in enumerate(utterances):
            if row.text not in self._rated:
                first.setdefault(row.text, position)
        chosen = sorted(
            self._chance.sample(sorted(first.values()), min(self._load.rated, len(first)))
        )
        self._rated |= {utterances[position].text for position in chosen}
        return chosen

    def mistaken(self, positions: Sequence[int]) -> tuple[list[int], list[int]]:
        """Of these, whose rater names the model's best wrong intent, and whose any wrong one."""
        wrong = self._chance.sample(positions, round(len(positions) * self._load.wrong))
        return sorted(wrong[: len(wrong) // 2]), sorted(wrong[len(wrong) // 2 :])

    def any_other(self, intent: str) -> str:
        """A wrong intent, each as likely."""
        return self._chance.choice([name for name in self._partition.intents if name != intent])


def _part(rows: Sequence[Row], window: tuple[float, float]) -> Sequence[Row]:
    """The rows between two shares of their order, one at least."""
    start = min(int(window[0] * len(rows)), len(rows) - 1)
    return rows[start : max(start + 1, round(window[1] * len(rows)))]


class Pool:
    """Labels that a person could still give, by intent."""

    def __init__(self, labels: Mapping[str, Sequence[Row]]) -> None:
        self._left = {intent: list(rows) for intent, rows in labels.items()}

    @property
    def size(self) -> int:
        """Labels left."""
        return sum(map(len, self._left.values()))

    def take(self, wanted: Mapping[str, int]) -> list[Row]:
        """Up to the wanted number of each intent; what is taken is gone."""
        taken = []
        for intent, count in wanted.items():
            rows = self._left.get(intent, [])
            taken += rows[:count]
            self._left[intent] = rows[count:]
        return taken
