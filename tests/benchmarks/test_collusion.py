"""A few raters who work together plant no backdoor, and do not keep good challengers out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data" / "clinc150"


@pytest.mark.slow
def test_no_backdoor_is_promoted_by_itself_and_honest_turns_are():
    if not DATA.exists():
        pytest.skip(f"needs {DATA}")
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "collusion.py"), "--quick"],
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'benchmarks'}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["backdoors_promoted"] == 0
    assert figures["backdoors"] >= 4
    assert figures["honest_turns"] >= 1
