"""`python -m flywheel.turn PARENT`: read a database file for `turn.proof`, under limits.

What to do is read from standard input, and what was found is written to standard output.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from flywheel.errors import FlywheelError, Refused
from flywheel.store import Settings, redo, restoring
from flywheel.turn import integrity
from flywheel.turn.backups import Replaced

_PR_SET_PDEATHSIG = 1
_DUCKDB: Settings = {"memory_limit": "1GB", "threads": 2}


def _limit(limits: dict[str, int], parent: int) -> None:
    """Take the limits on, let everybody else go first, and end when the parent does."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)
    with contextlib.suppress(OSError):  # it may be forbidden
        os.nice(10)
    for name, most in (
        (resource.RLIMIT_AS, limits["memory"]),
        (resource.RLIMIT_CPU, limits["cpu_s"]),
        (resource.RLIMIT_FSIZE, limits["file_size"]),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(name)[1]
        resource.setrlimit(name, (most if hard < 0 else min(most, hard), hard))


def _examine(asked: dict[str, Any]) -> dict[str, Any]:
    replaced = asked["replaced"]
    return integrity.examine(
        Path(asked["path"]),
        Path(asked["state_dir"]),
        datetime.fromisoformat(asked["now"]),
        asked["by"],
        None if replaced is None else Replaced(**replaced),
        {**_DUCKDB, "max_temp_directory_size": f"{asked['limits']['file_size']}B"},
    )


def _look(asked: dict[str, Any]) -> dict[str, Any]:
    with restoring.read_whole(Path(asked["path"]), _DUCKDB) as con:
        found = Replaced.of(con)
    return {"tip": found.tip, "links": found.links, "copies": found.copies}


def _checkpoint(asked: dict[str, Any]) -> dict[str, Any]:
    with restoring.read_whole(Path(asked["path"]), _DUCKDB) as con:
        mark = redo.position(con)
    if mark is None:
        raise Refused("the copy has no number of its last transaction")
    return asdict(mark)


_ASKED = {"examine": _examine, "look": _look, "checkpoint": _checkpoint}


def main() -> int:
    """Do what standard input says; returns the exit status."""
    told = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # DuckDB draws there what takes it seconds
    asked = json.loads(sys.stdin.buffer.read())
    _limit(asked["limits"], int(sys.argv[1]))
    answer: dict[str, Any]
    try:
        found = _ASKED[asked["what"]](asked)
    except FlywheelError as error:
        answer = {"refused": error.message, "hint": error.hint}
    else:
        answer = {"found": found}
    with told:
        json.dump(answer, told)
    return 0


if __name__ == "__main__":
    sys.exit(main())
