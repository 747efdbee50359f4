"""The units for systemd: accepted without a word, little exposed, and fitting the processes."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from flywheel.daemon.process import STOP_S
from flywheel.web.sockets import GRACE_S

DEPLOY = Path(__file__).parents[2] / "deploy"
DAEMON, SERVER = DEPLOY / "flywheel.service", DEPLOY / "flywheel-serve.service"
UNITS = sorted(DEPLOY.glob("*.service"))
DROP_INS = [
    (unit, drop_in)
    for unit in UNITS
    for drop_in in [None, *DEPLOY.glob(f"{unit.stem.rstrip('@')}.service.d/*")]
]
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def analyze(*arguments):
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def lines_of(unit):
    return unit.read_text(encoding="utf-8").splitlines()


def seconds(unit, key):
    return next(int(line.split("=")[1]) for line in lines_of(unit) if line.startswith(f"{key}="))


@needs_systemd
@pytest.mark.parametrize(
    ("unit", "drop_in"),
    DROP_INS,
    ids=lambda path: path and path.name,
)
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
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_unit_leaves_little_exposed(tmp_path, unit):
    alone = shutil.copy(unit, tmp_path)  # away from its drop-ins
    done = analyze("security", "--offline=true", "--threshold=20", str(alone))
    assert done.returncode == 0, done.stdout.splitlines()[-1]


@pytest.mark.parametrize("unit", [DAEMON, SERVER], ids=lambda unit: unit.name)
def test_an_instance_is_the_unit_with_folders_of_its_own(unit):
    template = unit.with_name(f"{unit.stem}@.service").read_text(encoding="utf-8")
    said = template.replace("/%i", "").replace("@%i", "").splitlines()
    kept = [line for line in said if not line.startswith(("#", "Description"))]
    expected = [line for line in lines_of(unit) if not line.startswith(("#", "Description"))]
    assert kept == expected


def test_the_unit_does_what_the_daemon_relies_on():
    for needed in (
        "Type=notify",
        "Group=flywheel",
        "StateDirectory=flywheel",
        "KillMode=mixed",
        "PrivateUsers=no",  # or the uid of the caller could not be read from the socket
        "ProtectProc=default",  # or who logged in could not be read from /proc
    ):
        assert needed in lines_of(DAEMON)
    assert seconds(DAEMON, "WatchdogSec") >= 30
    assert seconds(DAEMON, "TimeoutStopSec") > STOP_S + GRACE_S


def test_the_server_outlives_the_daemon_and_may_end_what_it_took():
    lines = lines_of(SERVER)
    for needed in ("Type=notify", "User=flywheel", "Group=flywheel", "StateDirectory=flywheel"):
        assert needed in lines
        assert needed in lines_of(DAEMON)  # who shares the folder
    assert any(line.startswith("After=") and "flywheel.service" in line for line in lines)
    bound = ("Requires=", "BindsTo=", "PartOf=", "Requisite=")
    assert not [line for line in lines if line.startswith(bound)]
    assert seconds(SERVER, "WatchdogSec") >= 30


@pytest.mark.parametrize("key", ["NoNewPrivileges", "CapabilityBoundingSet", "ProtectSystem"])
def test_the_server_may_no_more_than_the_daemon(key):
    said = [[line for line in lines_of(unit) if line.startswith(f"{key}=")] for unit in UNITS]
    assert len({tuple(each) for each in said}) == 1
