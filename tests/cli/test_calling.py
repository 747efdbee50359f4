"""Every command that is printed can be pasted, with program and config as they were given."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flywheel import cli
from flywheel.cli import screen
from flywheel.cli.app import app


@pytest.fixture
def called_as(monkeypatch):
    screen.remember(None)

    def call(name, path=""):
        monkeypatch.setattr(sys, "argv", [str(name)])
        monkeypatch.setenv("PATH", str(path))

    return call


@pytest.fixture
def installed(tmp_path):
    program = tmp_path / "my venv" / "bin" / "flywheel"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return program


def test_the_program_goes_by_its_name_where_the_shell_finds_it(called_as, installed):
    called_as(installed, installed.parent)
    assert screen.program() == "flywheel"


def test_elsewhere_it_goes_by_the_path_it_was_called_by(called_as, installed, monkeypatch):
    called_as(installed)
    assert screen.program() == f"'{installed}'"
    monkeypatch.chdir(installed.parents[1])
    called_as("bin/flywheel")
    assert screen.program() == "bin/flywheel"


def test_another_program_of_that_name_on_the_path_is_not_meant(called_as, installed, tmp_path):
    other = tmp_path / "other" / "flywheel"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    called_as(installed, other.parent)
    assert screen.program() == f"'{installed}'"


def test_called_as_a_module_it_says_so(called_as):
    called_as(Path(cli.__file__).parents[1] / "__main__.py")
    assert screen.program() == f"{sys.executable} -m flywheel"


@pytest.mark.parametrize(
    ("line", "pasted"),
    [
        ("next: flywheel turn list", "next: bin/flywheel turn list"),
        ("start it with `flywheel run`", "start it with `bin/flywheel run`"),
        ("  flywheel samples label", "  bin/flywheel samples label"),
        ("a flywheel has no corners", "a flywheel has no corners"),
        ("flywheel 0.1.0", "flywheel 0.1.0"),
    ],
)
def test_commands_are_named_and_nothing_else(called_as, line, pasted):
    called_as("bin/flywheel")
    assert screen.pasteable(line) == pasted


def test_a_config_that_was_named_stands_in_the_next_step(daemon):
    daemon.says("GET /v1/turns", [])
    config = daemon.folder / "config.toml"
    result = CliRunner().invoke(app, ["--config", str(config), "turn", "list"])
    assert result.stdout == f"no turn yet\nnext: flywheel --config {config} turn start --wait\n"


def test_the_steps_after_init_can_be_pasted(tmp_path):
    """In a folder whose name has a space, by a program that is not on the path."""
    program = Path(sys.executable).parent / "flywheel"
    options = {"capture_output": True, "text": True, "env": {"PATH": "/usr/bin:/bin"}}
    made = subprocess.run([program, "init", "my router"], cwd=tmp_path, check=True, **options)
    steps = made.stdout.split("next:\n")[1].split("\n\n")[0].splitlines()
    assert steps[0] == "  list your functions in my router/intents.toml"
    assert steps[1:] == [
        f"  {program} doctor --config 'my router/config.toml'",
        f"  {program} run --config 'my router/config.toml'",
    ]
    asked = subprocess.run(["sh", "-c", steps[1]], cwd=tmp_path, check=False, **options)
    assert "ok    config      my router/config.toml" in asked.stdout


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_elsewhere_than_on_linux_it_says_so_at_once(monkeypatch, capsys, platform):
    monkeypatch.setattr(sys, "platform", platform)
    assert cli.main() == 1
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith(f"error: flywheel runs on Linux only, and this is {platform}: ")
    assert said[1] == "next: run it in a Linux container or virtual machine"
