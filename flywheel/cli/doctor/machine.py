"""The machine: room on the disk, and the plug-ins that are installed."""

from __future__ import annotations

import shutil
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
