"""Arguments against an intent's JSON Schema, and schemas that are none."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.config import load_intents
from flywheel.errors import ConfigError
from flywheel.parameters import argument_problems, schema_problem
from flywheel.records import NONE, Intent

ALARM = Intent(
    name="set_alarm",
    parameters={
        "type": "object",
        "required": ["time"],
        "properties": {
            "time": {"type": "string", "minLength": 1, "pattern": "^[^!]*$"},
            "days": {"type": "array", "maxItems": 2, "items": {"$ref": "#/$defs/day"}},
            "volume": {"type": ["integer", "null"], "maximum": 5},
            "loud": {"type": "boolean"},
            "label": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        },
        "$defs": {"day": {"enum": ["mon", "tue"]}},
    },
)


def problems(intent, arguments, *, complete=True):
    return [str(each) for each in argument_problems(intent, arguments, complete=complete)]


def play(**schema):
    return Intent(name="play", parameters={"type": "object", **schema})


@pytest.mark.parametrize(
    "arguments",
    [
        None,
        {"time": "七点"},
        {"time": "seven", "days": ["mon"], "volume": 3, "loud": True, "label": None},
        {"time": "seven", "volume": None},
        {"time": "seven", "volume": 3.0},
    ],
)
def test_fitting_arguments_have_no_problems(arguments):
    assert problems(ALARM, arguments) == []


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({}, "arguments.time is missing"),
        ({"time": 7}, 'arguments.time is not of type "string"'),
        ({"time": ""}, "arguments.time is shorter than 1 character"),
        ({"time": "7!"}, 'arguments.time does not match "^[^!]*$"'),
        ({"time": "7", "volume": 99}, "arguments.volume is greater than the maximum of 5"),
        ({"time": "7", "volume": True}, 'arguments.volume is not of types "null", "integer"'),
        ({"time": "7", "days": ["mon", "sun"]}, 'arguments.days[1] is not one of "mon" or "tue"'),
        ({"time": "7", "days": ["mon"] * 3}, "arguments.days has more than 2 items"),
        ({"time": "7", "loud": 1}, 'arguments.loud is not of type "boolean"'),
        (
            {"time": "7", "label": 3},
            "arguments.label is not valid under any of the schemas listed in the 'anyOf' keyword",
        ),
        ({"time": "7", "place": "bed"}, "arguments.place is not in the schema"),
    ],
)
def test_what_does_not_fit_is_named_with_its_path_and_the_rule(arguments, problem):
    assert problems(ALARM, arguments) == [problem]


def test_every_problem_is_told_and_no_value_is_repeated():
    said = problems(ALARM, {"time": "!" * 9000, "volume": 99})
    assert said == [
        'arguments.time does not match "^[^!]*$"',
        "arguments.volume is greater than the maximum of 5",
    ]


def test_a_correction_may_leave_required_arguments_out():
    either = play(anyOf=[{"required": ["song"]}, {"required": ["artist"]}], minProperties=2)
    assert problems(ALARM, {"volume": 3}, complete=False) == []
    assert problems(either, {}, complete=False) == []
    assert problems(either, {}) != []
    assert problems(ALARM, {"volume": 99}, complete=False) == [
        "arguments.volume is greater than the maximum of 5"
    ]


def test_no_call_takes_no_arguments():
    assert problems(Intent(name=NONE), {}) == []
    assert problems(Intent(name=NONE), {"time": "7"}, complete=False) == [
        "arguments must be empty: `none` takes none"
    ]


def test_an_intent_without_a_schema_takes_anything():
    assert problems(Intent(name="play"), {"song": "夜曲"}) == []


def test_additional_arguments_may_be_forbidden_or_welcomed():
    closed = play(properties={}, additionalProperties=False)
    shut = play(additionalProperties=False)
    opened = play(properties={"song": {}}, additionalProperties=True)
    listed = play(properties={"song": {}}, patternProperties={"^by": {}}, allOf=[
        {"properties": {"volume": {}}}
    ])  # fmt: skip
    draft7 = play(**{"$schema": "http://json-schema.org/draft-07/schema#"}, properties={"song": {}})
    assert problems(closed, {"song": "夜曲"}, complete=False) == [
        "arguments.song is not in the schema"
    ]
    assert problems(shut, {"song": "夜曲"}) == ["arguments is not allowed by the schema"]
    assert problems(opened, {"by": "周杰伦"}) == []
    assert problems(listed, {"by_whom": "周杰伦", "volume": 3}) == []
    for intent in (listed, draft7):
        assert problems(intent, {"at": "noon"}) == ["arguments.at is not in the schema"]


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(?:(a|aa)+\\1)+$", "^(?=(a+)+$)b"])
def test_a_pattern_ends_whatever_it_is_given(pattern):
    intent = play(properties={"song": {"pattern": pattern}})
    assert len(problems(intent, {"song": "a" * 5000 + "!"})) == 1


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"properties": {"a": {"minItems": "x"}}}, "parameters.properties.a.minItems is not valid"),
        ({"properties": {"a": {"type": "strin"}}}, "parameters.properties.a.type is not valid"),
        ({"properties": {"a": {"pattern": "(["}}}, "parameters.properties.a.pattern is not valid"),
        ({"required": "a"}, "parameters.required is not valid"),
        ({"properties": []}, "parameters.properties is not valid"),
        ({"$ref": "#/$defs/none"}, "parameters is not valid: Pointer '/$defs/none' does not exist"),
        ({"$ref": "file:///etc/hostname"}, "parameters is not valid: Resource 'file:///etc/hostname'"),
        ({"$schema": "urn:mine"}, "parameters is not valid: Unknown meta-schema: 'urn:mine'"),
        ({"maximum": float("inf")}, "parameters.maximum is not valid"),
    ],
)  # fmt: skip
def test_what_is_no_schema_is_named_with_its_path(schema, problem):
    found = schema_problem(Intent(name="play", parameters=schema))
    assert str(found).startswith(problem)


def test_intents_of_a_broken_schema_are_refused_with_file_intent_and_path(tmp_path):
    path = tmp_path / "intents.toml"
    path.write_text(
        '[[intent]]\nname = "play"\n[intent.parameters]\n'
        'properties.volume = { type = "integer", maximum = "five" }\n'
    )
    with pytest.raises(ConfigError) as caught:
        load_intents(path)
    assert str(caught.value).startswith(
        f"{path}: intent play: parameters.properties.volume.maximum is not valid: "
    )
    assert "#/$defs/NAME" in caught.value.hint
    tools = tmp_path / "tools.json"
    tools.write_text('[{"name": "play", "parameters": {"properties": {"at": {"format": 7}}}}]')
    with pytest.raises(ConfigError, match=r"intent play: parameters\.properties\.at\.format is"):
        load_intents(tools)


def test_a_reference_to_another_machine_is_refused_and_never_followed(tmp_path):
    asked = []

    class Schemas(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Schemas) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        url = f"http://127.0.0.1:{server.server_port}/schema.json"
        try:
            for schema in ({"$ref": url}, {"$schema": url}, {"properties": {"a": {"$ref": url}}}):
                assert url in str(schema_problem(Intent(name="play", parameters=schema)))
        finally:
            server.shutdown()
            serving.join()
    assert asked == []


def test_listing_commands_does_not_load_the_library():
    code = (
        "import sys\nfrom flywheel.cli import main\nsys.argv = ['flywheel', '--help']\n"
        "try: main()\nexcept SystemExit: pass\nprint('jsonschema_rs' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


TYPES = ["string", "integer", "number", "object", "array", ["null", "string"]]
VALUES = ["", "a", "aaa", 2.5, 3.0]
values = st.none() | st.booleans() | st.integers(-3, 9) | st.sampled_from(VALUES)
nested = values | st.lists(values, max_size=3) | st.dictionaries(st.sampled_from("ab"), values)
rules = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(TYPES),
        "maximum": st.integers(0, 5),
        "multipleOf": st.sampled_from([1, 2, 0.5]),
        "minLength": st.integers(0, 2),
        "maxItems": st.integers(0, 2),
        "pattern": st.sampled_from(["^a+$", "a", "^$"]),
        "enum": st.lists(values, min_size=1, max_size=3, unique_by=json.dumps),
        "const": values,
        "uniqueItems": st.booleans(),
        "required": st.lists(st.sampled_from("ab"), max_size=2, unique=True),
        "additionalProperties": st.booleans(),
    },
)  # fmt: skip
schemas = st.recursive(
    rules,
    lambda inner: st.builds(
        lambda own, more: {**own, **more},
        rules,
        st.fixed_dictionaries(
            {},
            optional={
                "items": inner,
                "properties": st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
                "anyOf": st.lists(inner, min_size=1, max_size=2),
                "not": inner,
            },
        ),
    ),
    max_leaves=4,
)


@given(schemas, st.dictionaries(st.sampled_from("ab"), nested, max_size=2))
def test_what_fits_is_what_the_reference_implementation_says_fits(schema, arguments):
    intent = Intent(name="play", parameters={"additionalProperties": True, **schema})
    reference = jsonschema.Draft202012Validator(intent.parameters)
    found = argument_problems(intent, arguments, complete=True)
    assert (not found) is reference.is_valid(arguments)
    # What is left out does not count in a correction, so it never finds more.
    assert set(argument_problems(intent, arguments, complete=False)) <= set(found)
