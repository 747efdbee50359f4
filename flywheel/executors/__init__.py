"""Where jobs run: one module for each place, and one row here, by the name in `[executor] kind`."""

from collections.abc import Callable
from pathlib import Path

from flywheel.executors.local import LocalExecutor
from flywheel.protocols import Executor

EXECUTORS: dict[str, Callable[[Path], Executor]] = {
    LocalExecutor.kind: LocalExecutor,
}
"""From the folder of the jobs to what runs them."""

__all__ = ["EXECUTORS", "LocalExecutor"]
