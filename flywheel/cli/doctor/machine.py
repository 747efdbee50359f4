"""The machine: room on the disk, a GPU or none, and the plug-ins that are installed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from flywheel.cli.doctor.finding import Finding, fail, ok, warn
from flywheel.errors import FlywheelError

if TYPE_CHECKING:
    from flywheel.config import Config

_GB = 1_000_000_000
_LEAST = _GB // 2  # a turn writes a dataset, a worker's cache and an adapter
_ENOUGH = 5 * _GB
_QUERY_S = 10.0


def disk(config: Config) -> Iterator[Finding]:
    """Room where the state is kept."""
    there = nearest(config.state_dir)
    free = shutil.disk_usage(there).free
    text = f"{free / _GB:.1f} GB free at {there}"
    if free < _LEAST:
        yield fail("disk", text, "make room, or set [flywheel] state_dir to another disk")
    elif free < _ENOUGH:
        yield warn("disk", text, "datasets, adapters and the database will want more")
    else:
        yield ok("disk", text)


def gpu() -> Iterator[Finding]:
    """Whether there is a GPU; there need not be one."""
    program = shutil.which("nvidia-smi")
    if program is None:
        yield ok("gpu", "none; training uses the processor")
        return
    try:
        asked = subprocess.run(
            [program, "--query-gpu=name,memory.total", "--format=csv,noheader"],
            check=False,
            capture_output=True,
            text=True,
            timeout=_QUERY_S,
        )
        lines = asked.stdout.split("\n") if asked.returncode == 0 else []
    except (OSError, subprocess.TimeoutExpired):
        lines = []
    found = "; ".join(line.strip() for line in lines if line.strip())
    if found:
        yield ok("gpu", found)
    else:
        yield warn("gpu", "nvidia-smi is here but answers nothing", "look at the driver")


def plugins(config: Config) -> Iterator[Finding]:
    """Whether each configured source can be imported."""
    from flywheel.sources import find

    if not config.sources:
        yield ok("sources", "none configured; events come over HTTP and `flywheel ingest`")
        return
    for name, source in config.sources.items():
        try:
            find(source.plugin, config.root / "plugins")
        except FlywheelError as error:
            yield fail("sources", f"[sources.{name}]: {error.message}", error.hint)
        else:
            yield ok("sources", f"[sources.{name}]: {source.plugin} can be imported")


def nearest(path: Path) -> Path:
    """The folder itself, or the closest one above it that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())
