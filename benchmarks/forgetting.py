"""Do the first intents suffer from those that come later?

    python benchmarks/forgetting.py [--quick] [--seeds N] [--rows N] [--data DIR]
    python benchmarks/forgetting.py --erase [--quick] [--data DIR]

All intents but ten are learned first; then ten turns bring one new intent each. Every turn trains
as the daemon does, in a worker process, on a few rows of every intent known by then; val rows of
those are dev. What is told is the accuracy on test rows of the first intents alone, with all
intents known at the time to choose from; `forgotten` is how far it falls in ten turns, in points,
and `newcomers` the accuracy on the ten new ones at the end. Some of the fall is no forgetting: a
text that now has an eleventh plausible answer is harder. With `--erase` it asks another question,
which `exact_forgetting.py` states: is what is trained after an erasure what would have been trained
had the person never come? The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import exact_forgetting
import jobs
from partition import Row, read

from flywheel.records import NONE
from flywheel.worker import models

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "clinc150"
TURNS = 10
QUICK_INTENTS, QUICK_ROWS = 30, 5


def main() -> int:
    """Run the benchmark; 0 when it ran, whatever the figures are."""
    asked = _arguments()
    if asked.erase:
        return exact_forgetting.compare(asked.data, 1 if asked.quick else 5)
    with tempfile.TemporaryDirectory(prefix="forgetting-") as place:
        found = [_run(Path(place), seed, asked) for seed in range(asked.seeds)]
    by_turn = [mean(values) for values in zip(*(f["by_turn"] for f in found), strict=True)]
    figures = {
        "forgotten": round(by_turn[0] - by_turn[-1], 3),
        "newcomers": round(mean(f["newcomers"] for f in found), 3),
        "by_turn": [round(value, 2) for value in by_turn],
    }
    print(json.dumps({"benchmark": "forgetting", "quick": asked.quick, **figures}))
    return 0


def _run(place: Path, seed: int, asked: argparse.Namespace) -> dict[str, Any]:
    """One order of the intents: accuracy on the first by turn, and on the newcomers at the end."""
    sets = {name: read(asked.data, name) for name in ("train", "val", "test")}
    names = sorted({row.intent for row in sets["train"]} - {NONE})
    random.Random(seed).shuffle(names)
    names = names[: QUICK_INTENTS if asked.quick else len(names)]
    rows = list(sets["train"])
    random.Random(seed).shuffle(rows)
    few = [row for name in names for row in _of(rows, [name])[: asked.rows]]
    first, by_turn = names[:-TURNS], []
    for turn in range(TURNS + 1):
        known = names[: len(first) + turn]
        told = jobs.dataset(
            place / f"{seed}-{turn}.parquet",
            [(row.text, row.intent) for row in _of(few, known)],
            [(row.text, row.intent) for row in _of(sets["val"], known)],
        )
        told |= {"cache_dir": str(place / "cache"), "recipe": asked.recipe, "seed": seed}
        folder = place / f"turn-{seed}-{turn}"
        done = jobs.run(folder, "train", told, asked.threads)
        by_turn.append(_accuracy(folder / "adapter", place / "cache", _of(sets["test"], first)))
        print(f"seed {seed}, {len(known)} intents: {by_turn[-1]:.2f} on the first {len(first)}, "
              f"{done.cpu_s:.0f} CPU s", flush=True)  # fmt: skip
    new = _of(sets["test"], names[-TURNS:])
    return {"by_turn": by_turn, "newcomers": _accuracy(folder / "adapter", place / "cache", new)}


def _of(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    wanted = set(names)
    return [row for row in rows if row.intent in wanted]


def _accuracy(folder: Path, cache: Path, rows: Sequence[Row]) -> float:
    """Per cent of the rows that the adapter answers rightly, as deployed."""
    adapter = models.load({"": folder}, cache_dir=cache)[""]
    said = adapter.answer([row.text for row in rows], lambda _: None).intents
    return 100 * mean(a == row.intent for a, row in zip(said, rows, strict=True))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--erase", action="store_true", help="five erasures (one when quick)")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_INTENTS} intents, one seed")
    parser.add_argument("--seeds", type=int, help="3, or 1 when quick")
    parser.add_argument("--rows", type=int, help="of every intent: 10, or 5 when quick")
    parser.add_argument("--recipe", default="balanced")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", type=Path, default=DATA)
    asked = parser.parse_args()
    asked.seeds = asked.seeds or (1 if asked.quick else 3)
    asked.rows = asked.rows or (QUICK_ROWS if asked.quick else 10)
    return asked


if __name__ == "__main__":
    raise SystemExit(main())
