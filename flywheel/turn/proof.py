"""A file of strangers is read in a child process, so that it can end that one alone.

A damaged database file can end the process that opens it, by a signal inside DuckDB: no error is
raised, nothing is caught. The child has limits of memory, CPU time and file size, and ends with its
parent. What it found comes back as JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from flywheel.errors import Refused
from flywheel.store.redo import Mark
from flywheel.turn.backups import Replaced

COMMAND = (sys.executable, "-m", "flywheel.turn")
_HINT = "nothing was changed; name a file that `flywheel db backup` wrote"
_LOOK_S = 0.1  # between looks whether the caller is still there
_WALL_S = 3500.0  # a caller waits an hour
_MIB = 1 << 20


class ChildDied(Refused):
    """Reading a file ended the process that read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildLimits:
    """What a child may use; a number that is exceeded ends it."""

    memory: int = 6 << 30  # bytes of address space, of which DuckDB takes 1 GiB
    cpu_s: int = 300
    file_size: int = 1 << 30  # bytes of any file that it writes

    @classmethod
    def of(cls, copy: Path) -> ChildLimits:
        """Limits that a sound file of this size does not meet: 2 s and 4 times the room a MiB."""
        size = copy.stat().st_size
        return cls(cpu_s=300 + 2 * size // _MIB, file_size=(1 << 30) + 4 * size)


def examine(
    copy: Path,
    state_dir: Path,
    now: datetime,
    by: str,
    replaced: Replaced | None,
    gone: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Do as `integrity.examine`, in a child.

    Args:
        copy, state_dir, now, by, replaced: as for that one.
        gone: whether the caller went away; then the child is ended.

    Raises:
        Refused: the copy is unusable, or reading it ended the child.
    """
    asked = {
        "what": "examine",
        "path": str(copy),
        "state_dir": str(state_dir),
        "now": now.isoformat(),
        "by": by,
        "replaced": None if replaced is None else asdict(replaced),
    }
    return _in_a_child(asked, copy, gone)


def look(database: Path) -> Replaced:
    """Read what a restore says of the database that is there, which its owner has locked.

    Raises:
        Refused: it cannot be read, or reading it ended the child.
    """
    found = _in_a_child({"what": "look", "path": str(database)}, database, lambda: False)
    return Replaced(**found)


def checkpoint(copy: Path, gone: Callable[[], bool] = lambda: False) -> Mark:
    """Read every row of a copy of the database file, and return where it stands.

    Raises:
        Refused: it cannot be read, reading it ended the child, or its caller went away.
    """
    return Mark(**_in_a_child({"what": "checkpoint", "path": str(copy)}, copy, gone))


def survives(database: Path) -> bool:
    """Whether a process that opens this database lives on; a refusal is for its opener to tell."""
    try:
        look(database)
    except ChildDied:
        return False
    except Refused:
        return True
    return True


def _in_a_child(asked: Mapping[str, Any], file: Path, gone: Callable[[], bool]) -> dict[str, Any]:
    limits = ChildLimits.of(file)
    child = subprocess.Popen(
        [*COMMAND, str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # what DuckDB says as it dies may be of the file
        start_new_session=True,  # Ctrl-C is for the parent, which ends the child
    )
    told = json.dumps({**asked, "limits": asdict(limits)}).encode()
    until = time.monotonic() + _WALL_S
    try:
        answer = _answer(child, told, lambda: gone() or time.monotonic() > until)
    finally:
        child.kill()
        child.wait()
        for stream in filter(None, (child.stdin, child.stdout)):
            with contextlib.suppress(OSError):  # what it did not take
                stream.close()
    if answer is None:
        raise Refused("the backup was not read to its end: its caller went away", hint=_HINT)
    if child.returncode or not answer:
        how = _how(child.returncode, limits)
        raise ChildDied(f"the backup cannot be used: {how}", hint=_HINT)
    result = json.loads(answer)
    if "refused" in result:
        raise Refused(result["refused"], hint=result["hint"])
    found: dict[str, Any] = result["found"]
    return found


def _answer(
    child: subprocess.Popen[bytes], told: bytes, enough: Callable[[], bool]
) -> bytes | None:
    """What the child wrote; None where it was not waited for to its end."""
    ask: bytes | None = told
    while True:
        try:
            return child.communicate(ask, timeout=_LOOK_S)[0]
        except subprocess.TimeoutExpired:
            ask = None
            if enough():
                return None


def _how(status: int, limits: ChildLimits) -> str:
    """How a child ended that gave no answer."""
    if -status in (signal.SIGXCPU, signal.SIGKILL):
        return f"reading it took more than {limits.cpu_s} s of CPU time, or was ended by hand"
    if status < 0:
        return f"reading it ended the process that tried, signal {-status}"
    return f"reading it ended the process that tried, exit {status}"
