"""Benchmarks are programs beside each other, not a package: tests find them by path."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data" / "clinc150"
sys.path.insert(0, str(ROOT / "benchmarks"))


@pytest.fixture
def figures_of():
    """Runs a benchmark with `--quick`, and gives the JSON object that it ends with."""

    def run(name, *arguments):
        if not DATA.exists():
            pytest.skip(f"needs {DATA}")
        path = f"{ROOT}:{ROOT / 'benchmarks'}"
        done = subprocess.run(
            [sys.executable, str(ROOT / "benchmarks" / name), "--quick", *arguments],
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run
