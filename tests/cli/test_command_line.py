"""The command line as a whole: complete, quick to start, and plain about what went wrong."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from flywheel import __version__
from flywheel.cli.app import app

FLYWHEEL = [sys.executable, "-m", "flywheel"]
PYDANTIC = {
    "pydantic",
    "pydantic_core",
    "annotated_types",
    "typing_extensions",
    "typing_inspection",
}

PROMISED = {
    "": "demo init run serve predict doctor status reload intents ingest erase log",
    "samples": "import export dispute label stats",
    "turn": "start list show refused cancel",
    "review": "list acts show verify approve reject",
    "adapters": "list show export rollback",
    "base": "list fetch check",
    "plugins": "list check",
    "db": "check backup restore",
    "rejected": "list show export drop retry",
    "feedback": "scores",
    "intents": "alias",
}


def commands(group=None, path=()):
    for name, command in (group or get_command(app)).commands.items():
        if hasattr(command, "commands"):
            if command.invoke_without_command:
                yield (*path, name)
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


ALL = sorted(commands())


def test_the_commands_are_those_that_were_promised():
    promised = {
        (*group.split(), name) for group, names in PROMISED.items() for name in names.split()
    }
    assert set(ALL) == promised


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_has_an_example_of_this_very_command(path):
    result = CliRunner().invoke(app, [*path, "--help"], prog_name="flywheel")
    assert result.exit_code == 0
    _, _, example = result.stdout.partition("Example")
    assert f"  flywheel {' '.join(path)}" in example
    assert max(len(line) for line in result.stdout.splitlines()) <= 80


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_the_first_sentence_of_the_help_fits_the_list_of_commands(path):
    listed = CliRunner().invoke(app, [*path[:-1], "--help"], prog_name="flywheel").stdout
    line = next(line for line in listed.splitlines() if line.split()[:1] == [path[-1]])
    assert not line.endswith("...")


def test_version():
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"flywheel {__version__}\n")


@pytest.mark.parametrize(("command", "more"), [("--help", set()), ("status", PYDANTIC)])
def test_starting_imports_little_beside_the_standard_library(tmp_path, command, more):
    # what the interpreter loads before, such as a distribution's sitecustomize, is not ours
    before = "import sys; before = set(sys.modules)"
    told = "file=open('modules', 'w')"
    at_end = f"atexit.register(lambda: print(*(set(sys.modules) - before), {told}))"
    code = f"{before}; import atexit; {at_end}; from flywheel.cli import main; main()"
    (tmp_path / "config.toml").touch()
    run = [sys.executable, "-W", "ignore", "-c", code, command]
    subprocess.run(run, capture_output=True, cwd=tmp_path, check=False)
    loaded = (tmp_path / "modules").read_text().split()
    assert "flywheel.cli.app" in loaded
    foreign = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names
    typer = {"typer", "annotated_doc", "shellingham"}  # and what it needs itself
    assert {each for each in foreign if not each.startswith("_")} <= {"flywheel", *typer, *more}


def no_daemon(folder):
    return ["--config", str(folder / "config.toml")]


@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["intents"],
        ["turn", "start"],
        ["review", "show"],
        ["adapters", "list"],
        ["samples", "stats"],
    ],
    ids=" ".join,
)
def test_without_a_daemon_two_lines_say_what_to_do(alone, command):
    result = alone.run(*command)
    error, hint = result.stderr.splitlines()
    assert (result.exit_code, result.stdout) == (1, "")
    assert error == f"error: no daemon answers on {alone.folder}/var/flywheel.sock"
    assert hint.startswith("next: start it with `flywheel run`")


def test_a_stale_socket_is_no_daemon_either(alone, monkeypatch):
    monkeypatch.chdir(alone.folder / "var")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind("flywheel.sock")
    assert "no daemon answers" in alone.run("status").stderr


def test_a_socket_that_may_not_be_used_says_which_group(alone, monkeypatch):
    def refuse(self, address):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("flywheel.unix_socket.UnixConnection.connect", lambda self: refuse(self, 0))
    result = alone.run("status")
    assert result.exit_code == 1
    assert "join the group" in result.stderr


def test_an_answer_that_is_no_json_is_told(daemon):
    daemon.says("GET /v1/status", b"<html>")
    result = daemon.run("status")
    assert (result.exit_code, result.stderr.splitlines()[0]) == (
        1,
        "error: the daemon's answer is not JSON",
    )


def test_errors_from_outside_cannot_steer_the_terminal(daemon):
    daemon.says("GET /v1/status", {"error": "a\x1b[2Jb\nnext: rm -rf", "hint": "\x9b"}, status=500)
    result = daemon.run("status")
    assert result.stderr == "error: a\\x1b[2Jb\\nnext: rm -rf\nnext: \\x9b\n"


def test_a_deep_folder_is_no_problem_for_the_socket(tmp_path, monkeypatch):
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    (deep / "var").mkdir(parents=True)
    (deep / "config.toml").touch()
    monkeypatch.chdir(deep / "var")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("flywheel.sock")
        result = CliRunner().invoke(app, [*no_daemon(deep), "status"])
    assert "no daemon answers" in result.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_offered(shell):
    environment = os.environ | {"_FLYWHEEL_COMPLETE": f"source_{shell}"}
    done = subprocess.run(
        [Path(sys.executable).with_name("flywheel")],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert "flywheel" in done.stdout


def test_completion_completes():
    environment = os.environ | {
        "_FLYWHEEL_COMPLETE": "complete_bash",
        "COMP_WORDS": "flywheel review ap",
        "COMP_CWORD": "2",
    }
    program = shutil.which("flywheel", path=Path(sys.executable).parent) or FLYWHEEL
    done = subprocess.run([program], capture_output=True, text=True, check=False, env=environment)
    assert done.stdout.split() == ["approve"]


def test_a_closed_pipe_ends_it_quietly():
    done = subprocess.run(
        f"{' '.join(FLYWHEEL)} --help | head -c 1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("U", "")


def test_a_terminal_that_knows_no_chinese_is_written_to_anyway(tmp_path):
    environment = os.environ | {"PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(
        [*FLYWHEEL, "init", tmp_path / "新"],
        capture_output=True,
        encoding="latin-1",
        check=True,
        env=environment,
    )
    assert r"/\u65b0/config.toml" in done.stdout
