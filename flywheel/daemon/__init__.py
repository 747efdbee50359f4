"""The process: builds everything once, serves requests, runs turns, and ends cleanly."""

from flywheel.daemon.process import run

__all__ = ["run"]
