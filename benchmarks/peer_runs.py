"""Runs of peers on rows of a benchmark: made now, or made once, whole, and kept in peers.jsonl.

    python benchmarks/peer_runs.py ROWS.json      # says which rows they are, for a line of it

A complete run of SetFit takes the better part of an hour, so runs are recorded: one line of JSON a
run, with the peer's version and the hash of the rows it was trained and tested on. A line counts
for those rows only, so that ours and theirs are always of one split. A run that was cut short is
shown and never recorded.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

RECORD = Path(__file__).with_name("peers.jsonl")

Peer = Literal["setfit", "autointent"]
PEERS: tuple[Peer, ...] = ("setfit", "autointent")

Pairs = Sequence[tuple[str, str]]
"""Text and intent."""


@dataclass(frozen=True, slots=True)
class Run:
    """A peer's model, trained and tested."""

    accuracy: float  # per cent of the test rows
    cpu_s: float  # of training
    steps: int = 0  # where the peer counts any


def rows_id(train: Pairs, test: Pairs, seed: int) -> str:
    """What a run depends on but for the peer itself: twelve hex digits."""
    told = [[list(pair) for pair in train], [list(pair) for pair in test], seed]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]


def recorded(peer: Peer, train: Pairs, test: Pairs, seed: int) -> Run | None:
    """The newest complete run of a peer on these rows that was recorded; None: there is none."""
    wanted = rows_id(train, test, seed)
    lines = RECORD.read_text(encoding="utf-8").splitlines() if RECORD.exists() else []
    for line in reversed(lines):
        said = json.loads(line)
        if (said["peer"], said["rows"]) == (peer, wanted):
            return Run(said["accuracy"], said["cpu_s"], said.get("steps", 0))
    return None


def installed(peer: Peer, python: str) -> bool:
    """Whether this interpreter has the peer."""
    asks = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({peer!r}) is None)"
    return subprocess.run([python, "-c", asks], check=False).returncode == 0


def run(
    peer: Peer,
    place: Path,
    train: Pairs,
    test: Pairs,
    seed: int,
    model: Path,
    python: str,
    steps: int = -1,
) -> Run:
    """Train now, in a process of its own.

    Args:
        place: the rows are written to.
        python: an interpreter that has the peer installed.
        steps: at most, or -1 for the whole recipe; SetFit alone can be cut short.
    """
    told = {"train": train, "test": test, "model": str(model), "seed": seed, "steps": steps}
    place.write_text(json.dumps(told), encoding="utf-8")
    script = Path(__file__).with_name(f"peer_{peer}.py")
    done = subprocess.run([python, str(script), str(place)], check=True, stdout=subprocess.PIPE)
    said = json.loads(done.stdout.splitlines()[-1])
    made = Run(said["accuracy"], said["cpu_s"], said.get("steps", 0))
    if steps < 0:
        line = {"peer": peer, "rows": rows_id(train, test, seed), **said}
        with RECORD.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    return made


def main() -> None:
    """Say which rows a file holds."""
    told = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(rows_id(told["train"], told["test"], told["seed"]))


if __name__ == "__main__":
    main()
