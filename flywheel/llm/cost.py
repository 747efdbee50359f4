"""What answers cost, in money and in tokens."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """A sum of answers, or a limit on one."""

    usd: float = 0.0
    tokens: float = 0.0  # in and out

    def __str__(self) -> str:
        return f"{self.usd:.4f} US dollars and {self.tokens:.0f} tokens"

    def plus(self, other: Cost, times: int = 1) -> Cost:
        """Return the sum with `other`, counted so many times."""
        return Cost(usd=self.usd + times * other.usd, tokens=self.tokens + times * other.tokens)

    def reaches(self, limit: Cost, share: float) -> bool:
        """Whether a share of one of the limits is reached."""
        return self.usd >= share * limit.usd or self.tokens >= share * limit.tokens
