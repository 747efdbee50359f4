import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.waiting import CEILING_S

SERVER = (sys.executable, "-S", "-E", str(Path(__file__).with_name("mortal_server.py")))


def live(daemon, folder, name, operations):
    """One life of the process: how it ended, and the ids that it had logged."""
    command = (*SERVER, str(folder), str(daemon.socket), name, str(operations))
    ended = subprocess.run(command, capture_output=True, timeout=CEILING_S, text=True, check=False)
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    return ended.returncode, ended.stdout.split()


def killed_at_each(daemon, folder, step):
    """Kill one process after another over the same log, each a few operations later."""
    logged, kills, operations = [], 0, 1
    while True:
        code, ids = live(daemon, folder, f"p{operations}", operations)
        logged += ids
        if code == 0:
            return logged, kills
        kills, operations = kills + 1, operations + step


def check(daemon, folder, step, least):
    logged, kills = killed_at_each(daemon, folder, step)
    stored = Counter([*daemon.ids(), *daemon.ids("feedback")])
    lost = set(logged) - set(stored)
    repeated = [each for each, times in stored.items() if times > 1]
    assert (lost, repeated) == (set(), [])
    assert kills >= least


def test_what_was_logged_is_in_the_database_once_wherever_the_process_is_killed(daemon, tmp_path):
    check(daemon, tmp_path / "answers", step=17, least=6)


@pytest.mark.slow
def test_the_same_before_every_single_operation(daemon, tmp_path):
    check(daemon, tmp_path / "answers", step=1, least=80)
