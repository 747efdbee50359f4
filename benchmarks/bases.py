"""Which base model for which language, and at what cost?

    python benchmarks/bases.py [--quick] [--seeds N] [--bases DIR] [--data DIR]

Every base of `flywheel base list`, and multilingual-e5-small cut to Han and Latin, learns ten texts
an intent by logistic regression on the frozen embedding (the recipe `frozen`), as the daemon's
worker does, and answers the published test set: CLINC150 in English without its out-of-scope rows,
CAIS in Chinese. Of CAIS the intents are taken that have 20 training and 4 test rows; 87 % of its
rows are of one intent, so `macro`, the mean over intents, stands beside the accuracy.

CPU seconds and megabytes (peak) are those of the training job, one thread and no cache. `start_s`
is the time from a new process to the first answer of a loaded adapter, `start_cpu_s` what it
computes meanwhile, and `answer_ms` the CPU a text after it, all with torch. `disk_mb` is the base's
folder. A base that cannot be fetched and a set that is not there are named and left out. The last
line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from statistics import mean
from typing import Any

import jobs
from partition import Row, read

from flywheel.bases import catalogue, fetching
from flywheel.errors import FlywheelError
from flywheel.records import NONE

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
ASKED = ("all-minilm-l6-v2", "multilingual-e5-small", "multilingual-e5-small-han-latin")
SETS = {"clinc150": "en", "cais": "zh"}
EACH, LEAST_TRAIN, LEAST_TEST = 10, 20, 4
QUICK_INTENTS = 30


def main() -> int:
    """Run the benchmark; 0 when it ran, whatever the figures are."""
    asked = _arguments()
    if asked.answer:
        return _answer(asked.answer, asked.bases)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="bases-") as place:
        under = asked.bases or Path(place) / "bases"
        for name in ASKED:
            choice = catalogue.named(name)
            try:
                fetching.fetch(choice, under, lambda _: None)
            except FlywheelError as error:
                print(f"left out: {name}: {error.message}", flush=True)
                continue
            disk = sum(p.stat().st_size for p in fetching.find(choice, under).rglob("*"))
            for which, language in SETS.items():
                if not (asked.data / which).is_dir():
                    print(f"left out: {which}: {asked.data} has none", flush=True)
                    continue
                sets = _sets(asked.data / which, asked.quick)
                runs = [
                    _run(Path(place) / f"{name}-{which}-{seed}", name, under, sets, seed)
                    for seed in range(asked.seeds)
                ]
                row = {key: round(mean(run[key] for run in runs), 2) for key in runs[0]}
                found = {"base": name, "set": which, "language": language, **row}
                rows.append(found | {"disk_mb": round(disk / 1e6)})
                print(json.dumps(rows[-1]), flush=True)
    print(json.dumps({"benchmark": "bases", "quick": asked.quick, "bases": rows}))
    return 0


def _sets(folder: Path, quick: bool) -> tuple[list[Row], list[Row]]:
    """Train and test rows of the intents that have enough of both."""
    train, test = (read(folder, name) for name in ("train", "test"))
    many, tested = (Counter(row.intent for row in rows) for rows in (train, test))
    names = {n for n in many if many[n] >= LEAST_TRAIN and tested[n] >= LEAST_TEST} - {NONE}
    if quick:
        names = set(sorted(names)[:QUICK_INTENTS])
    return [r for r in train if r.intent in names], [r for r in test if r.intent in names]


def _run(
    place: Path, base: str, under: Path, sets: tuple[list[Row], list[Row]], seed: int
) -> dict[str, float]:
    train, test = sets
    dealt: dict[str, list[str]] = defaultdict(list)
    for row in random.Random(seed).sample(train, len(train)):
        if len(dealt[row.intent]) < EACH:
            dealt[row.intent].append(row.text)
    pairs = [(text, intent) for intent in sorted(dealt) for text in dealt[intent]]
    spec = jobs.dataset(place / "rows.parquet", pairs, ()) | {"seed": seed, "recipe": "frozen"}
    done = jobs.run(place / "job", "train", spec | {"base": base, "bases_dir": str(under)})
    command = [sys.executable, __file__, "--answer", str(place / "job/adapter")]
    began = time.time()
    child = subprocess.run(
        [*command, "--bases", str(under)],
        input=json.dumps([row.text for row in test]),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    told = json.loads(child.stdout.splitlines()[-1])
    right: dict[str, list[bool]] = defaultdict(list)
    for row, intent in zip(test, told["intents"], strict=True):
        right[row.intent].append(intent == row.intent)
    return {
        "accuracy": 100 * mean(hit for hits in right.values() for hit in hits),
        "macro": 100 * mean(mean(hits) for hits in right.values()),
        "cpu_s": done.cpu_s,
        "mb": done.peak_mb,
        "start_s": told["ready"] - began,
        "start_cpu_s": told["start_cpu_s"],
        "answer_ms": told["answer_ms"],
        "server_mb": told["mb"],
    }


def _answer(folder: Path, under: Path) -> int:
    """In a process of its own: load the adapter, answer the texts of standard input."""
    from flywheel.router import Router

    texts = json.load(sys.stdin)
    router = Router.load(folder, engine="torch", bases=under)
    router.answer(texts[0])
    ready, start = time.time(), time.process_time()
    intents = [answer.intent for answer in router.answer_batch(texts)]
    cpu = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    told = {"ready": ready, "start_cpu_s": start, "answer_ms": 1000 * cpu / len(texts), "mb": peak}
    print(json.dumps(told | {"intents": intents}))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_INTENTS} intents, one seed")
    parser.add_argument("--seeds", type=int, help="3, or 1 when quick")
    parser.add_argument("--bases", type=Path, help="folder of fetched bases; default: a new one")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    asked.seeds = asked.seeds or (1 if asked.quick else 3)
    return asked


if __name__ == "__main__":
    raise SystemExit(main())
