"""config.toml and intents.toml: what is refused, and what the refusal says."""

import json
from pathlib import Path

import pytest

from flywheel.config import (
    Config,
    ServingTable,
    changed,
    live,
    load,
    load_intents,
    needs_restart,
    secret,
)
from flywheel.errors import ConfigError


def write(folder: Path, text: str, name: str = "config.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_an_empty_file_gives_the_defaults(tmp_path):
    path = write(tmp_path, "")
    assert load(path) == Config(path=path.resolve())


def test_values_are_read_into_their_tables(tmp_path):
    path = write(
        tmp_path,
        '[flywheel]\nstate_dir = "状态"\n[gates.overall]\nprofile = "fast"\n'
        '[sources.crm]\nplugin = "csv_drop"\nfolder = "in"\n[gates.slices.margins]\n'
        '"channel=voice" = 0.2\n',
    )
    config = load(path)
    assert config.state_dir == (tmp_path / "状态").resolve()
    assert config.gates.overall.profile == "fast"
    assert config.gates.slices.margins == {"channel=voice": 0.2}
    assert config.sources["crm"].options == {"folder": "in"}


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[trainin]\n", "1: unknown key trainin", "did you mean `training`?"),
        (
            "\n[training]\nrecipy = 'x'\n",
            "3: unknown key training.recipy",
            "did you mean `recipe`?",
        ),
        (
            "[gates.overall]\nalpa = 0.1\n",
            "2: unknown key gates.overall.alpa",
            "did you mean `alpha`?",
        ),
    ],
)
def test_an_unknown_key_is_refused_with_its_line_and_the_nearest_name(
    tmp_path, text, message, hint
):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert caught.value.message == f"{path}:{message}"
    assert caught.value.hint == hint


def test_a_wrong_type_is_refused_with_file_line_and_key(tmp_path):
    path = write(tmp_path, '[model]\nbase = "x"\nthreads = "many"\n')
    with pytest.raises(ConfigError, match=r"config.toml:3: model.threads: .*not 'many'"):
        load(path)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ('"user feedback"', "user feedback"),
        ('"phoenix:stars"', "phoenix:stars"),
        ("stars", "stars"),
    ],
)
def test_a_score_rule_that_means_nothing_is_refused_with_its_line(tmp_path, key, name):
    path = write(tmp_path, f'[feedback.scores]\nfine = "thumbs"\n{key} = "5..1 >= 4"\n')
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert caught.value.message == (
        f"{path}:3: feedback.scores.{name}: '5..1 >= 4' has a scale from 5 to 1: "
        "write the lower end first"
    )


def test_score_rules_are_read_by_name(tmp_path):
    path = write(tmp_path, '[feedback.scores]\n"user feedback" = "thumbs"\n')
    assert load(path).feedback.scores == {"user feedback": "thumbs"}


def test_a_word_outside_its_choices_is_refused(tmp_path):
    path = write(tmp_path, '[promotion]\nmode = "yolo"\n')
    with pytest.raises(ConfigError, match=r":2: promotion.mode: .*'auto' or 'review'"):
        load(path)


def test_feedback_cannot_grow_heavier_with_age(tmp_path):
    path = write(tmp_path, "[training]\nhalf_life_days = -30.0\n")
    with pytest.raises(ConfigError, match=r"`half_life_days` is -30\.0, not 0 or more"):
        load(path)


def test_a_source_without_a_plugin_is_refused(tmp_path):
    path = write(tmp_path, "[sources.crm]\nfolder = 'in'\n")
    with pytest.raises(ConfigError, match=r":1: \[sources.crm\] needs `plugin`"):
        load(path)


def test_a_missing_file_says_how_to_write_one(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "none.toml")
    assert "flywheel init" in caught.value.hint


def test_text_that_is_not_toml_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="is not TOML"):
        load(write(tmp_path, "[flywheel\n"))


def test_intents_are_read_from_toml_with_their_schema(tmp_path):
    path = write(
        tmp_path,
        '[[intent]]\nname = "放音乐"\ndescription = "Play"\ncritical = true\n'
        '[intent.parameters]\ntype = "object"\nproperties.song = { type = "string" }\n',
        "intents.toml",
    )
    (intent,) = load_intents(path)
    assert (intent.name, intent.critical, intent.argument_names()) == (
        "放音乐",
        True,
        frozenset({"song"}),
    )


def test_intents_are_read_from_openai_tools(tmp_path):
    tools = [{"type": "function", "function": {"name": "a", "parameters": {"type": "object"}}}]
    for value in (tools, {"tools": tools}):
        path = write(tmp_path, json.dumps(value), "tools.json")
        assert [intent.name for intent in load_intents(path)] == ["a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[intent]]\nname = "none"\n', "intent 1 is named `none`"),
        ('[[intent]]\nname = "a"\n[[intent]]\nname = "a"\n', "two intents are (or were) named a"),
        (
            '[[intent]]\nname = "a"\nrenamed_from = ["o"]\n'
            '[[intent]]\nname = "b"\nmerged_from = ["o"]\n',
            "two intents are (or were) named o",
        ),
        ('[[intent]]\nname = "a"\nmerged_from = ["none"]\n', "intent a cannot come of `none`"),
        ('[[intent]]\ndescription = "x"\n', "intent 1 has no `name`"),
        ('[[intent]]\nname = "a"\ncolour = 1\n', "intent a: unknown key colour"),
    ],
)
def test_intents_that_cannot_be_told_apart_are_refused(tmp_path, text, message):
    path = write(tmp_path, text, "intents.toml")
    with pytest.raises(ConfigError) as caught:
        load_intents(path)
    assert message in caught.value.message


def test_a_secret_comes_from_a_systemd_credential_before_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", "from-env")
    assert secret("TEACHER_KEY") == "from-env"
    (tmp_path / "TEACHER_KEY").write_text("from-credential\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert secret("TEACHER_KEY") == "from-credential"
    assert secret("") is None


def test_a_gates_table_with_a_plugin_is_a_gate_of_ones_own(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(
        '[gates.words]\nplugin = "no_words"\nlimit = 3\n[gates.intents]\nmargin = 0.3\n'
    )
    found = load(path).gates
    assert found.intents.margin == 0.3
    assert (found.custom["words"].plugin, found.custom["words"].options) == (
        "no_words",
        {"limit": 3},
    )
    path.write_text("[gates.intentz]\nmargin = 0.3\n")
    with pytest.raises(ConfigError, match="intentz"):
        load(path)


def test_a_reload_takes_on_how_parity_is_asked_and_not_where():
    old = Config(serving=ServingTable(kind="local"))
    new = Config(serving=ServingTable(kind="link", parity_texts=10, parity_minutes=5.0))
    assert [name for name in changed(old, new) if needs_restart(name)] == ["serving.kind"]
    assert live(old, new).serving == ServingTable(kind="local", parity_texts=10, parity_minutes=5.0)
