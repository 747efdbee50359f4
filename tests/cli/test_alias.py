"""`flywheel intents alias`: another spelling becomes a former name, in either kind of file."""

import json

import pytest
from typer.testing import CliRunner

from flywheel.cli.app import app
from flywheel.config import load_intents

TOML = """# our functions
[[intent]]
name = "set_alarm"  # 闹钟
description = "Wake the user"

[[intent]]
name = "play_music"
renamed_from = ["music"]
"""


def run(folder, *arguments):
    env = {"FLYWHEEL_CONFIG": str(folder / "config.toml"), "COLUMNS": "200"}
    done = CliRunner().invoke(app, ["intents", "alias", *arguments], env=env)
    return done.exit_code, done.output


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.toml").write_text("")
    (tmp_path / "intents.toml").write_text(TOML, encoding="utf-8")
    return tmp_path


def test_the_file_keeps_its_comments_and_the_history_follows(folder):
    code, said = run(folder, "SetAlarm", "set_alarm")
    assert (code, "no daemon runs; the next start reads it" in said) == (0, True)
    assert run(folder, "Music", "play_music")[0] == 0
    text = (folder / "intents.toml").read_text(encoding="utf-8")
    assert "# our functions" in text
    assert "# 闹钟" in text
    names = {intent.name: intent.renamed_from for intent in load_intents(folder / "intents.toml")}
    assert names == {"set_alarm": ("SetAlarm",), "play_music": ("music", "Music")}


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_tool_list_in_json_is_edited_too(folder, wrapped):
    tools = [{"type": "function", "function": {"name": "set_alarm", "description": "闹钟"}}]
    (folder / "intents.json").write_text(json.dumps({"tools": tools} if wrapped else tools))
    (folder / "config.toml").write_text('[intents]\nfile = "intents.json"\n')
    assert run(folder, "SetAlarm", "set_alarm")[0] == 0
    (intent,) = load_intents(folder / "intents.json")
    assert intent.renamed_from == ("SetAlarm",)
    assert "闹钟" in (folder / "intents.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("SetAlarm", "set_alrm", "did you mean set_alarm?"),
        ("set_alarm", "play_music", "set_alarm is an intent"),
        ("none", "play_music", "none is an intent"),
        ("music", "set_alarm", "music is a former name already"),
    ],
)
def test_a_wrong_name_is_refused_with_the_next_step_and_nothing_is_written(folder, old, new, said):
    code, output = run(folder, old, new)
    assert (code, said in output) == (1, True), output
    assert (folder / "intents.toml").read_text(encoding="utf-8") == TOML
