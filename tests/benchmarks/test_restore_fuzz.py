"""Backups that were damaged or edited do not end the daemon, and do not change it unseen."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_no_mutation_of_a_backup_kills_the_daemon_or_passes_unseen():
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "restore_fuzz.py"), "--quick"],
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'benchmarks'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    figures = json.loads(done.stdout.splitlines()[-1])
    assert (figures["deaths"], figures["silent"]) == (0, 0), done.stderr
    assert figures["mutations"] >= 40
