"""What the loop did, turn by turn: a Markdown table, the figures, and their line in docs/log.md."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from scores import Score

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turned:
    """What one turn did; turn 0 is the first champion's."""

    turn: int
    score: Score
    decision: str
    challenger: float | None  # its macro accuracy, whatever was decided
    bought: int
    samples: int  # that the challenger was trained on
    steps: dict[str, float]  # seconds

    @property
    def seconds(self) -> float:
        """Of all steps."""
        return sum(self.steps.values())


@dataclass(slots=True, kw_only=True)
class Run:
    """One seed under one profile."""

    seed: int
    profile: str
    turns: list[Turned] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)  # intents, against the first champion

    @property
    def macro(self) -> list[float]:
        """By turn, the first champion's first."""
        return [turned.score.macro for turned in self.turns]


def table(runs: Sequence[Run]) -> Iterator[str]:
    """One line a turn, as Markdown."""
    yield (
        "| seed | profile | turn | micro | macro | worst decile | oos recall | labels | samples "
        "| challenger's macro | decision | seconds per step |"
    )
    yield "| --- " * 12 + "|"
    for run in runs:
        for turned in run.turns:
            at = turned.score
            outside = "–" if at.out_of_scope is None else f"{at.out_of_scope:.1f}"
            challenger = "–" if turned.challenger is None else f"{turned.challenger:.2f}"
            steps = ", ".join(f"{name} {s:.0f}" for name, s in turned.steps.items() if s >= 0.5)
            yield (
                f"| {run.seed} | {run.profile} | {turned.turn} | {at.micro:.2f} | {at.macro:.2f} "
                f"| {at.worst_decile:.1f} | {outside} | {turned.bought} | {turned.samples} "
                f"| {challenger} | {turned.decision} | {steps} |"
            )


def figures(runs: Sequence[Run]) -> dict[str, Any]:
    """Means over seeds; labels are those of one run of the fast profile."""
    fast = [run for run in runs if run.profile == "fast"]
    strict = [run for run in runs if run.profile == "strict"]
    later = [turned for run in runs for turned in run.turns[1:]]
    return {
        "first_macro": _mean(run.macro[0] for run in runs),
        "final_macro": _mean(run.macro[-1] for run in fast),
        "macro_by_turn": [_mean(at) for at in zip(*(run.macro for run in fast), strict=True)],
        "final_macro_strict": _mean(run.macro[-1] for run in strict),
        "decisions": {
            profile: dict(Counter(turned.decision for run in of for turned in run.turns[1:]))
            for profile, of in (("fast", fast), ("strict", strict))
            if of
        },
        "intents_lost": sum(len(run.lost) for run in runs),
        "labels_bought": _mean(sum(turned.bought for turned in run.turns) for run in fast),
        "seconds_per_turn": _mean(turned.seconds for turned in later),
        "final_macro_by_seed": [round(run.macro[-1], 2) for run in fast],
        "seeds": len({run.seed for run in runs}),
        "turns": len(runs[0].turns) - 1,
    }


def _mean(values: Iterable[float]) -> float | None:
    """To two digits; None of a profile that was not run."""
    known = list(values)
    return round(fmean(known), 2) if known else None


def log(lines: Sequence[str], found: dict[str, Any]) -> None:
    """Append the figures to docs/log.md."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    title = f"{datetime.now(UTC):%Y-%m-%d} · loop_clinc150 · {commit or 'no commit'}"
    with (ROOT / "docs" / "log.md").open("a", encoding="utf-8") as file:
        file.write("\n".join(["", f"## {title}", "", *lines, "", f"`{json.dumps(found)}`", ""]))
