"""Copies of a database file, whole or not at all."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from flywheel.errors import FlywheelError


def copy_file(source: Path, to: Path) -> None:
    """Copy a file in another process, and have it on disk before this returns.

    Closing any descriptor of a database file in this process would drop the lock that DuckDB
    holds on it.

    Raises:
        FlywheelError: it cannot be written; nothing is left behind.
    """
    done = subprocess.run(
        ["cp", "--reflink=auto", "--", os.fspath(source), os.fspath(to)],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        to.unlink(missing_ok=True)
        raise FlywheelError(done.stderr.strip() or f"cannot write {to}", hint="is there room?")
    with to.open("rb") as file:
        os.fsync(file.fileno())
