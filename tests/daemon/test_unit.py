import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "deploy" / "flywheel.service"
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def analyze(*arguments):
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, check=False, timeout=60
    )


@needs_systemd
def test_systemd_accepts_the_unit_without_a_word(tmp_path):
    installed = tmp_path / "flywheel.service"
    text = UNIT.read_text(encoding="utf-8")
    # verify wants the program to exist, which it does only after an installation
    installed.write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", text))
    done = analyze("verify", str(installed))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd
def test_the_unit_leaves_little_exposed():
    done = analyze("security", "--offline=true", "--threshold=20", str(UNIT))
    assert done.returncode == 0, done.stdout.splitlines()[-1]


def test_the_unit_does_what_the_daemon_relies_on():
    lines = UNIT.read_text(encoding="utf-8").splitlines()
    for needed in (
        "Type=notify",
        "Group=flywheel",
        "StateDirectory=flywheel",
        "KillMode=mixed",
        "PrivateUsers=no",  # or the uid of the caller could not be read from the socket
    ):
        assert needed in lines
    seconds = dict(
        line.split("=") for line in lines if re.match(r"(WatchdogSec|TimeoutStop)", line)
    )
    assert int(seconds["WatchdogSec"]) >= 30
    assert int(seconds["TimeoutStopSec"]) > 10
