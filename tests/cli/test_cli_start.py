"""`flywheel init`, where the config is found, and the template that everybody starts from."""

import dataclasses
import os
import re
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flywheel.cli import start
from flywheel.cli.app import app
from flywheel.cli.command import find, find_config
from flywheel.config import Config, load, load_intents
from flywheel.errors import ConfigError

ROOT = Path(__file__).parents[2]
TEMPLATES = Path(start.__file__).parent / "templates"


def init(*arguments):
    return CliRunner().invoke(app, ["init", *map(str, arguments)], prog_name="flywheel")


def keys(table, prefix=""):
    """Every key of a table of the config, in full."""
    for each in dataclasses.fields(table):
        value = getattr(table, each.name)
        if dataclasses.is_dataclass(value):
            yield from keys(value, f"{prefix}{each.name}.")
        elif prefix:
            yield f"{prefix}{each.name}"


def template_keys(text):
    table = ""
    for line in text.splitlines():
        if header := re.match(r"\[([\w.]+)\]", line):
            table = header[1]
        elif key := re.match(r"(?:# )?(\w+) = ", line):
            yield f"{table}.{key[1]}"


def test_init_writes_a_folder_that_can_be_loaded(tmp_path):
    result = init(tmp_path / "new")
    assert result.exit_code == 0
    assert (tmp_path / "new" / "plugins").is_dir()
    assert (tmp_path / "new" / "logs").is_dir()
    config = load(tmp_path / "new" / "config.toml")
    assert len(load_intents(config.root / config.intents.file)) == 8
    assert f"flywheel run --config {tmp_path / 'new' / 'config.toml'}" in result.stdout


def test_init_says_what_counts_the_golden_rows_and_when(tmp_path):
    assert init(tmp_path).stdout.endswith(
        """\
a golden set that pays has about 40 verified texts an intent, and lasts 30 turns;
`flywheel doctor` says how many that is for your intents, and counts those that are there
once the daemon runs (`flywheel run`)
"""
    )


def test_init_writes_the_sample_plugin(tmp_path):
    init(tmp_path)
    sample = ROOT / "plugins" / "csv_drop.py"
    assert (tmp_path / "plugins" / "csv_drop.py").read_bytes() == sample.read_bytes()


def test_init_writes_the_units_when_asked(tmp_path):
    init(tmp_path)
    assert not (tmp_path / "deploy").exists()
    asked = init(tmp_path / "with units", "--units")
    assert asked.exit_code == 0
    paths = [path for path in (ROOT / "deploy").rglob("*") if path.is_file()]
    for path in paths:
        name = path.relative_to(ROOT)
        assert (tmp_path / "with units" / name).read_bytes() == path.read_bytes()
        assert f"wrote {tmp_path}/with units/{name}\n" in asked.stdout


@pytest.mark.parametrize("there", ["config.toml", "intents.toml"])
def test_init_overwrites_nothing(tmp_path, there):
    (tmp_path / there).write_text("mine")
    result = init(tmp_path)
    assert (result.exit_code, result.stderr[:6]) == (1, "error:")
    assert {path.name for path in tmp_path.iterdir()} == {there}
    assert (tmp_path / there).read_text() == "mine"


def test_the_template_loads_to_the_defaults(tmp_path):
    loaded = load(TEMPLATES / "config.toml")
    assert dataclasses.replace(loaded, path=Path("config.toml")) == Config()


def test_every_default_that_the_template_shows_is_the_default(tmp_path):
    text = (TEMPLATES / "config.toml").read_text(encoding="utf-8")
    shown = tmp_path / "config.toml"
    shown.write_text(re.sub(r"(?m)^# (\w+ = )", r"\1", text), encoding="utf-8")
    assert dataclasses.replace(load(shown), path=Path("config.toml")) == Config()


def test_every_key_is_explained_in_the_template():
    text = (TEMPLATES / "config.toml").read_text(encoding="utf-8")
    assert sorted(template_keys(text)) == sorted(keys(Config()))


@pytest.mark.parametrize("name", ["config.toml", "intents.toml"])
def test_the_projects_own_files_are_what_init_writes(name):
    assert (ROOT / name).read_bytes() == (TEMPLATES / name).read_bytes()


def test_the_intents_are_those_of_the_demo():
    ours = tomllib.loads((TEMPLATES / "intents.toml").read_text(encoding="utf-8"))
    demo = ROOT / "flywheel" / "demo" / "starter" / "intents.toml"
    assert ours == tomllib.loads(demo.read_text(encoding="utf-8"))


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FLYWHEEL_CONFIG", raising=False)
    monkeypatch.setattr("flywheel.cli.command.SYSTEM_WIDE", tmp_path / "etc.toml")
    return tmp_path


def test_the_config_is_the_named_one_else_the_variables_else_here_else_etc(nowhere, monkeypatch):
    with pytest.raises(ConfigError, match=r"no config\.toml here"):
        find_config(None)
    (nowhere / "etc.toml").touch()
    assert find_config(None) == nowhere / "etc.toml"
    (nowhere / "config.toml").touch()
    assert find_config(None) == Path("config.toml")
    (nowhere / "variable.toml").touch()
    monkeypatch.setenv("FLYWHEEL_CONFIG", str(nowhere / "variable.toml"))
    assert find_config(None) == nowhere / "variable.toml"
    (nowhere / "named.toml").touch()
    assert find_config(nowhere / "named.toml") == nowhere / "named.toml"
    with pytest.raises(ConfigError, match="no such file"):
        find_config(nowhere / "missing.toml")


STRANGER = 54_321


@pytest.fixture
def given_to_a_stranger(monkeypatch):
    """Make a path another user's; only root can give files away, so else it is us who changes."""

    def give(path):
        if os.geteuid() == 0:
            os.chown(path, STRANGER, -1)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: STRANGER)

    return give


@pytest.mark.parametrize("whose", ["config.toml", ".", "plugins", "plugins/source.py"])
def test_a_config_in_a_strangers_folder_is_taken_only_when_it_is_named(
    nowhere, given_to_a_stranger, whose
):
    (nowhere / "plugins").mkdir()
    (nowhere / "plugins" / "source.py").write_text("")
    (nowhere / "config.toml").write_text("")
    assert find_config(None) == Path("config.toml")
    given_to_a_stranger(nowhere / whose)
    with pytest.raises(ConfigError, match=r"is another user's \(uid \d+\)") as refused:
        find_config(None)
    assert refused.value.hint == f"if you trust it, name it: --config {nowhere / 'config.toml'}"
    assert find_config(nowhere / "config.toml") == nowhere / "config.toml"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be called by sudo")
def test_under_sudo_the_folder_of_who_called_it_is_ones_own(nowhere, monkeypatch):
    (nowhere / "config.toml").write_text("")
    os.chown(nowhere / "config.toml", STRANGER, -1)
    monkeypatch.setenv("SUDO_UID", str(STRANGER))
    assert find_config(None) == Path("config.toml")


def test_folders_are_relative_to_the_config(nowhere):
    (nowhere / "deep").mkdir()
    (nowhere / "deep" / "config.toml").write_text('[flywheel]\nstate_dir = "state"\nlog_dir = ""\n')
    place = find(nowhere / "deep" / "config.toml")
    assert place.socket == nowhere / "deep" / "state" / "flywheel.sock"
    assert place.log_dir is None


@pytest.mark.parametrize("text", ["[flywheel\n", "[flywheel]\nstate_dir = 3\n", "flywheel = 3\n"])
def test_a_config_that_cannot_be_read_is_an_error_with_a_hint(nowhere, text):
    (nowhere / "config.toml").write_text(text)
    with pytest.raises(ConfigError) as error:
        find(None)
    assert error.value.hint


def test_run_hands_the_config_and_once_to_the_daemon(nowhere, monkeypatch):
    (nowhere / "config.toml").touch()
    asked = []

    def run(path, once):
        asked.append((path, once))
        return 1

    monkeypatch.setattr("flywheel.daemon.run", run)
    result = CliRunner().invoke(app, ["--config", "config.toml", "run", "--once"])
    assert (result.exit_code, asked) == (1, [(Path("config.toml"), True)])
    CliRunner().invoke(app, ["run", "--config", "config.toml"])
    assert asked[1:] == [(Path("config.toml"), False)]
