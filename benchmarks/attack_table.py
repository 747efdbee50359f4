"""Attacks on authority and evidence, each of which succeeded once: does every one hold now?

A case is a function whose name says what must hold. It attacks a loop with a history, in this
process or as a real daemon where the surface is a socket, HTTP, the file system or `kill -9`, and
says what got through.

    python benchmarks/attack_table.py [--quick] [--seed N] [--seeds N] [--only WORDS]

The last line is JSON: `cases`, and how many of them `held`. With several seeds a case holds when it
holds on each. `--quick` leaves out the cases that start a daemon.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import (
    attack_authors,
    attack_collusion,
    attack_door,
    attack_durability,
    attack_evidence,
    attack_restore,
    attack_roles,
)
from benchmarks.attack_lab import HELD, Case, Lab

EVERY: tuple[Case, ...] = (
    *attack_door.CASES,
    *attack_roles.CASES,
    *attack_restore.CASES,
    *attack_authors.CASES,
    *attack_evidence.CASES,
    *attack_collusion.CASES,
    *attack_durability.CASES,
)


def starts_a_daemon(case: Case) -> bool:
    """Whether a case takes a process of its own, and so some seconds."""
    source = inspect.getsource(case.attempt)
    return "daemon(" in source


def main() -> int:
    """Try every attack, and end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="without real daemons")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", default="", help="cases whose name has these words")
    asked = parser.parse_args()
    cases = [case for case in EVERY if asked.only in case.name]
    cases = [case for case in cases if not (asked.quick and starts_a_daemon(case))]
    through: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as ends:
        labs = [Lab(Path(folder), seed) for seed in range(asked.seed, asked.seed + asked.seeds)]
        for lab in labs:
            ends.callback(lab.end)
        part = ""
        for case in cases:
            if case.part != part:
                part = case.part
                print(f"\n{part}")
            began = time.monotonic()
            for lab in labs:
                outcome = case.outcome(lab)
                lab.close()
                if outcome != HELD:
                    through.setdefault(case.name, f"seed {lab.seed}: {outcome}")
            said = through.get(case.name, HELD)
            mark = "    " if said == HELD else "NOT "
            print(f"  {mark}{case.name} ({time.monotonic() - began:.1f} s)", flush=True)
            if said != HELD:
                print(f"       {said}", flush=True)
    print(json.dumps({"cases": len(cases), "held": len(cases) - len(through)}))
    return 0 if not through else 1


if __name__ == "__main__":
    sys.exit(main())
