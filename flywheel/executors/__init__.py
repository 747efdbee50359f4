"""Where jobs run: one module for each place."""

from flywheel.executors.local import LocalExecutor

__all__ = ["LocalExecutor"]
