"""What `make` would install for whom; `make -n` prints it and does nothing."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# As in a user's shell: `make test` tells a make below it of itself.
OUTSIDE = {
    name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))
}


@pytest.fixture
def plan(tmp_path):
    """The commands of a target, in a folder where nothing is installed but what is named."""
    for name in ("pyproject.toml", "constraints.txt", "Makefile"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv").mkdir()

    def commands(target, *installed):
        for name in installed:
            (tmp_path / ".venv" / name).touch()
        run = ["make", "-n", target, "PYTHON=python3"]
        made = subprocess.run(
            run, cwd=tmp_path, check=True, capture_output=True, text=True, env=OUTSIDE
        )
        return made.stdout.splitlines()

    return commands


def installs(commands):
    return [line.split("constraints.txt ")[1] for line in commands if " pip install " in line]


def test_the_demo_installs_what_it_needs_and_nothing_of_the_tests(plan):
    assert installs(plan("demo")) == ["torch", "-e '.'"]


@pytest.mark.parametrize("target", ["test", "check", "docs"])
def test_the_tests_add_theirs(plan, target):
    assert installs(plan(target, ".demo-ready")) == ["torch", "-e '.[dev]'"]


@pytest.mark.parametrize("stamp", [".ready", ".demo-ready"])
def test_the_demo_installs_nothing_twice(plan, stamp):
    assert plan("demo", stamp) == [".venv/bin/flywheel demo --language en"]


def test_each_installation_is_announced(plan):
    """Also where the output is no terminal, and `pip` shows no bar."""
    commands = plan("demo")
    steps = [line.split('"')[1][:5] for line in commands if line.startswith('echo "[')]
    assert steps == ["[1/4]", "[2/4]", "[3/4]", "[4/4]"]


def test_the_wheels_check_is_part_of_ci():
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert any(line.startswith("make ") and "test-wheel" in line.split() for line in lines)
