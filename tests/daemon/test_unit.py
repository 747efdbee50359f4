import re
import shutil
import subprocess
from pathlib import Path

import pytest

from flywheel.daemon.process import STOP_S
from flywheel.web.sockets import GRACE_S

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = DEPLOY / "flywheel.service"
TEMPLATE = DEPLOY / "flywheel@.service"
DROP_INS = sorted((DEPLOY / "flywheel.service.d").iterdir())
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def analyze(*arguments):
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, check=False, timeout=60
    )


@needs_systemd
@pytest.mark.parametrize("unit", [UNIT, TEMPLATE], ids=lambda unit: unit.name)
@pytest.mark.parametrize("drop_in", [None, *DROP_INS], ids=lambda path: path and path.name)
def test_systemd_accepts_the_unit_without_a_word(tmp_path, unit, drop_in):
    installed = tmp_path / unit.name.replace("@", "@one")
    # verify wants the program to exist, which it does only after an installation
    text = unit.read_text(encoding="utf-8")
    installed.write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", text))
    if drop_in:
        folder = tmp_path / f"{installed.name}.d"
        folder.mkdir()
        shutil.copy(drop_in, folder)
    done = analyze("verify", str(installed))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd
@pytest.mark.parametrize("unit", [UNIT, TEMPLATE], ids=lambda unit: unit.name)
def test_the_unit_leaves_little_exposed(tmp_path, unit):
    alone = shutil.copy(unit, tmp_path)  # away from its drop-ins
    done = analyze("security", "--offline=true", "--threshold=20", str(alone))
    assert done.returncode == 0, done.stdout.splitlines()[-1]


def test_an_instance_is_the_unit_with_folders_of_its_own():
    said = [
        line
        for line in TEMPLATE.read_text(encoding="utf-8").replace("/%i", "").splitlines()
        if not line.startswith(("#", "Description"))
    ]
    unit = UNIT.read_text(encoding="utf-8").splitlines()
    assert said == [line for line in unit if not line.startswith(("#", "Description"))]


def test_the_unit_does_what_the_daemon_relies_on():
    lines = UNIT.read_text(encoding="utf-8").splitlines()
    for needed in (
        "Type=notify",
        "Group=flywheel",
        "StateDirectory=flywheel",
        "KillMode=mixed",
        "PrivateUsers=no",  # or the uid of the caller could not be read from the socket
        "ProtectProc=default",  # or who logged in could not be read from /proc
    ):
        assert needed in lines
    seconds = dict(
        line.split("=") for line in lines if re.match(r"(WatchdogSec|TimeoutStop)", line)
    )
    assert int(seconds["WatchdogSec"]) >= 30
    assert int(seconds["TimeoutStopSec"]) > STOP_S + GRACE_S
