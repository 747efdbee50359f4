"""What `flywheel demo` ends in, over many seeds: does what it promises happen every time?

Each seed is a whole demo in a folder of its own: its traffic, its users' verdicts, its training
and its swapped labels are other ones. What a demo printed is in FOLDER/SEED/demo.txt.

    python benchmarks/demo_outcomes.py [--quick] [--seeds 20] [--jobs 1] [--folder FOLDER]

The last line is JSON: seeds, and in how many of them the seeds made a first champion, the turn on
traffic was promoted and the turn on swapped labels refused; `other`: seeds where one of the three
did not happen.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from flywheel.demo import StoryOutcome, play
from flywheel.errors import FlywheelError


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One seed."""

    seed: int
    seconds: int
    outcome: StoryOutcome | None  # None: it broke off
    error: str = ""

    def __str__(self) -> str:
        head = f"seed {self.seed:>2}  {self.seconds:>4} s"
        if self.outcome is None:
            return f"{head}  {self.error}"
        return "  ".join([head, *(f"{n}: {said}" for n, said in asdict(self.outcome).items())])


def main() -> None:
    """Play the seeds and print a line for each."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="one seed")
    options.add_argument("--seeds", type=int, default=20)
    options.add_argument("--jobs", type=int, default=1, help="demos at a time")
    options.add_argument("--folder", type=Path, help="a new folder; default: a temporary one")
    given = options.parse_args()
    seeds = range(1 if given.quick else given.seeds)
    with _folder(given.folder) as folder:
        rows = []
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(given.jobs, spawn, max_tasks_per_child=1) as pool:
            for row in pool.map(played, [folder] * len(seeds), seeds):
                rows.append(row)
                print(row, flush=True)
    outcomes = [row.outcome for row in rows if row.outcome is not None]
    whole = [each for each in outcomes if each.first_champion and each.promoted and each.refused]
    counts = {
        "seeds": len(rows),
        "first_champion": sum(each.first_champion for each in outcomes),
        "promoted": sum(each.promoted for each in outcomes),
        "refused": sum(each.refused for each in outcomes),
        "other": len(rows) - len(whole),
    }
    print(json.dumps(counts))


def played(folder: Path, seed: int) -> Row:
    """One demo, in a process of its own."""
    place = folder / str(seed)
    place.mkdir(parents=True)
    began = time.monotonic()
    outcome, error = None, ""
    with (place / "demo.txt").open("w", encoding="utf-8") as file, redirect_stdout(file):
        try:
            outcome = play(place / "demo", keep=True, seed=seed)
        except FlywheelError as problem:
            error = problem.message
    return Row(seed=seed, seconds=round(time.monotonic() - began), outcome=outcome, error=error)


@contextmanager
def _folder(named: Path | None) -> Iterator[Path]:
    if named is not None:
        yield named
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


if __name__ == "__main__":
    main()
