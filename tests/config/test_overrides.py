"""What the environment sets over config.toml, and what a variable that fits nothing is told."""

import dataclasses
import json
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flywheel.cli.command import find
from flywheel.config import Config, SourceTable, TokenTable, load
from flywheel.errors import ConfigError

OPEN = {"sources", "custom", "tokens", "path", "overrides"}
"""Fields of the tables that are no keys, or tables of the reader's own."""


def keys(table: type, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    """Every key below a table, with its type."""
    for name, hint in typing.get_type_hints(table).items():
        if dataclasses.is_dataclass(hint):
            yield from keys(hint, (*above, name))
        elif name not in OPEN:
            yield (*above, name), hint


WORDS = st.text(st.characters(exclude_categories=["C"]), max_size=9)

RULES = st.sampled_from(["thumbs", "1..5 >= 4", "stars"])


def values(hint: object) -> st.SearchStrategy:
    """Values that a key of this type may be given, as they are written in TOML."""
    if typing.get_origin(hint) is typing.Literal:
        return st.sampled_from(typing.get_args(hint))
    return {
        str: WORDS,
        bool: st.booleans(),
        int: st.integers(0, 2**40),
        float: st.floats(0, 1e9),
        tuple[str, ...]: st.lists(WORDS, max_size=3),
        dict[str, str]: st.dictionaries(WORDS.filter(bool), RULES, max_size=2),
        dict[str, float]: st.dictionaries(WORDS.filter(bool), st.floats(0, 1), max_size=2),
        typing.Literal["auto"] | float: st.just("auto") | st.floats(0, 1),
    }[hint]


def toml(value: object) -> str:
    if isinstance(value, dict):
        pairs = (f"{json.dumps(k, ensure_ascii=False)} = {toml(v)}" for k, v in value.items())
        return "{" + ", ".join(pairs) + "}"
    return json.dumps(value, ensure_ascii=False)


SET = st.sampled_from(list(keys(Config))).flatmap(
    lambda each: st.tuples(st.just(each[0]), values(each[1]))
)


def read(path: Path, text: str, environment: dict[str, str]) -> Config | str:
    """The configuration; of a refusal its reason, less the place."""
    path.write_text(text, encoding="utf-8")
    try:
        return dataclasses.replace(load(path, environment), overrides=())
    except ConfigError as error:
        return error.message.partition(": ")[2].partition(", not ")[0]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SET, st.sampled_from([str.upper, str.lower, str.title]), st.booleans())
def test_a_variable_says_what_the_file_would_say(tmp_path, pair, spelled, as_json):
    key, value = pair
    *tables, name = key
    written = value if isinstance(value, str) else (json.dumps if as_json else toml)(value)
    in_file = read(tmp_path / "a", f"[{'.'.join(tables)}]\n{name} = {toml(value)}\n", {})
    by_variable = read(tmp_path / "a", "", {spelled("FLYWHEEL_" + "__".join(key)): written})
    assert by_variable == in_file


def test_a_variable_stands_over_the_file_and_is_named(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("[training]\nseed = 3\nrefit = true\n[gates.overall]\nalpha = 0.2\n")
    environment = {
        "FLYWHEEL_API__TCP": "127.0.0.1:8765",
        "FLYWHEEL_TRAINING__SEED": "7",
        "FLYWHEEL_TRAINING__REFIT": "False",
        "FLYWHEEL_GATES__OVERALL__ALPHA": "0.05",
        "FLYWHEEL_PROMOTION__HOOKS__COMMAND": '["notify", "--all"]',
        "FLYWHEEL_PROMOTION__APPROVALS": "2",
    }
    config = load(path, environment)
    assert config.api.tcp == "127.0.0.1:8765"
    assert (config.training.seed, config.training.refit) == (7, False)
    assert config.gates.overall.alpha == 0.05
    assert config.promotion.hooks.command == ("notify", "--all")
    assert config.promotion.approvals == 2
    assert config.overrides == tuple(sorted(environment))


def test_the_process_is_asked_anew_at_each_reading(tmp_path, monkeypatch):
    path = tmp_path / "config.toml"
    path.write_text("")
    assert load(path).training.seed == 0
    monkeypatch.setenv("FLYWHEEL_TRAINING__SEED", "7")
    assert load(path).training.seed == 7


def test_variables_for_something_else_are_left_alone(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("")
    others = {
        "FLYWHEEL_CONFIG": "config.toml",
        "FLYWHEEL_TOKEN": "s3cret",
        "_FLYWHEEL_COMPLETE": "source_bash",
        "API__TCP": "127.0.0.1:1",
    }
    assert load(path, others) == Config(path=path.resolve())


def test_options_of_sources_and_gates_that_the_file_has_can_be_set(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(
        '[sources.Crm]\nplugin = "csv_drop"\nFolder = "7"\n'
        '[gates.words]\nplugin = "no_words"\nlimit = 3\n'
    )
    environment = {
        "FLYWHEEL_SOURCES__CRM__FOLDER": "8",
        "FLYWHEEL_SOURCES__CRM__EVERY": "60",
        "FLYWHEEL_SOURCES__CRM__BEGIN": "today",
        "FLYWHEEL_GATES__WORDS__LIMIT": "5",
    }
    config = load(path, environment)
    options = {"Folder": "8", "every": 60, "begin": "today"}
    assert config.sources == {"Crm": SourceTable(plugin="csv_drop", options=options)}
    assert config.gates.custom["words"].options == {"limit": 5}


def test_a_token_is_named_by_variables_alone_or_beside_the_file(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('[api.tokens.Ops]\nenv = "OPS"\nrole = "look"\nperson = "ada"\n')
    environment = {
        "FLYWHEEL_API__TOKENS__OPS__ROLE": "decide",
        "FLYWHEEL_API__TOKENS__SHOP__ENV": "SHOP",
        "FLYWHEEL_API__TOKENS__SHOP__ROLES": '["ingest", "look"]',
    }
    assert load(path, environment).api.tokens == {
        "Ops": TokenTable(env="OPS", role="decide", person="ada"),
        "shop": TokenTable(env="SHOP", roles=("ingest", "look")),
    }


@pytest.mark.parametrize(
    ("name", "value", "message", "hint"),
    [
        ("API__TOKENS", "x", "api.tokens is a table", "name one of its keys: NAME"),
        ("API__TOKENS__", "x", "unknown key api.tokens.", "known here: nothing below a key"),
        (
            "API__TOKENS__OPS",
            "x",
            "api.tokens.ops is a table",
            "name one of its keys: env, role, roles, person",
        ),
        (
            "API__TOKENS__OPS__ROL",
            "x",
            "unknown key api.tokens.ops.rol",
            "did you mean `FLYWHEEL_API__TOKENS__OPS__ROLE`?",
        ),
        ("API__TPC", "x", "unknown key api.tpc", "did you mean `FLYWHEEL_API__TCP`?"),
        ("APY__TCP", "x", "unknown key apy", "did you mean `FLYWHEEL_API__TCP`?"),
        ("_API__TCP", "x", "unknown key _api", "did you mean `FLYWHEEL_API__TCP`?"),
        ("API__TCP__PORT", "x", "unknown key api.tcp.port", "known here: nothing below a key"),
        ("PATH__X", "x", "unknown key path", "did you mean `FLYWHEEL_WATCH__X`?"),
        (
            "GATES__OVERALL",
            "x",
            "gates.overall is a table",
            "name one of its keys: profile, alpha, queries, alpha_fast, prescreen_p",
        ),
        (
            "TRAINING__SEED",
            "many",
            "training.seed: input should be a valid integer, unable to parse string as an "
            "integer, not 'many'",
            "mend or unset it, and start again",
        ),
        (
            "FLYWHEEL__LOG_LEVEL",
            "loud",
            "flywheel.log_level: input should be 'debug', 'info', 'warning' or 'error', not 'loud'",
            "mend or unset it, and start again",
        ),
        ("MODEL__THREADS", "-1", "model.threads is negative (-1)", "write 0 or more"),
    ],
)
def test_a_variable_that_fits_nothing_is_refused_by_its_name(tmp_path, name, value, message, hint):
    path = tmp_path / "config.toml"
    path.write_text("")
    with pytest.raises(ConfigError) as caught:
        load(path, {f"FLYWHEEL_{name}": value})
    assert caught.value.message == f"FLYWHEEL_{name}: {message}"
    assert caught.value.hint == hint


def test_a_rule_of_a_whole_table_names_the_variables_in_it(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("[labelling]\naudit = 0.1\n")
    with pytest.raises(ConfigError, match=r":1, FLYWHEEL_LABELLING__UNCERTAIN: labelling: "):
        load(path, {"FLYWHEEL_LABELLING__UNCERTAIN": "2"})


def test_the_same_key_by_two_variables_is_refused(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("")
    twice = {"FLYWHEEL_API__TCP": "a", "FLYWHEEL_API__tcp": "b"}
    with pytest.raises(ConfigError, match=r"_API__tcp: FLYWHEEL_API__TCP sets api\.tcp too"):
        load(path, twice)


def test_a_mistake_of_the_file_is_told_with_its_line_all_the_same(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("api = 3\n")
    with pytest.raises(ConfigError, match=r"config.toml:1, FLYWHEEL_API__TCP: api must be"):
        load(path, {"FLYWHEEL_API__TCP": "127.0.0.1:1"})


def test_commands_look_for_the_daemon_where_the_environment_puts_it(tmp_path, monkeypatch):
    path = tmp_path / "config.toml"
    path.write_text('[flywheel]\nstate_dir = "var"\n')
    monkeypatch.setenv("FLYWHEEL_FLYWHEEL__STATE_DIR", "elsewhere")
    monkeypatch.setenv("flywheel_flywheel__log_dir", "")
    config, place = load(path), find(path)
    assert place.state_dir == config.state_dir == (tmp_path / "elsewhere").resolve()
    assert (place.log_dir, config.flywheel.log_dir) == (None, "")
