"""Benchmarks are programs beside each other, not a package: tests find them by path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
