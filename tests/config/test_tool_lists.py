"""Tool lists of every protocol are intents; what is no function is refused with its place."""

import json

import pytest

from flywheel.config import load_intents
from flywheel.errors import ConfigError
from flywheel.parameters import argument_problems

SCHEMA = {"type": "object", "properties": {"time": {"type": "string"}}, "required": ["time"]}
DRAFT = {"$schema": "https://json-schema.org/draft/2020-12/schema", **SCHEMA}
TOOL = {"name": "set_alarm", "description": "Wake the user"}


def intents(tmp_path, value):
    path = tmp_path / "tools.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return load_intents(path)


CHAT = {"type": "function", "function": {**TOOL, "parameters": SCHEMA, "strict": True}}
RESPONSES = {"type": "function", **TOOL, "parameters": SCHEMA, "strict": True}
ANTHROPIC = {**TOOL, "input_schema": SCHEMA, "cache_control": {"type": "ephemeral"}}
MCP = {**TOOL, "title": "Alarm", "inputSchema": SCHEMA, "outputSchema": {}, "_meta": {}}


@pytest.mark.parametrize(
    "value",
    [
        [CHAT],
        {"model": "m", "messages": [], "tools": [CHAT]},
        {"functions": [{**TOOL, "parameters": SCHEMA}]},
        {"tools": [RESPONSES]},
        [ANTHROPIC],
        {"tools": [{"type": "custom", **ANTHROPIC}]},
        {"tools": [MCP]},
        {"jsonrpc": "2.0", "id": 1, "result": {"tools": [MCP], "nextCursor": None}},
        {"type": "mcp_list_tools", "server_label": "home", "tools": [ANTHROPIC]},
        [{"type": "mcp_list_tools", "server_label": "home", "tools": [ANTHROPIC]}],
        [{"functionDeclarations": [{**TOOL, "parameters": SCHEMA}]}],
        {"toolConfig": {"tools": [{"toolSpec": {**TOOL, "inputSchema": {"json": SCHEMA}}}]}},
        {"tools": {"set_alarm": {"description": "Wake the user", "inputSchema": SCHEMA}}},
        RESPONSES,
    ],
)
def test_one_function_is_one_intent_in_every_protocol(tmp_path, value):
    (intent,) = intents(tmp_path, value)
    assert (intent.name, intent.description, intent.critical) == (*TOOL.values(), False)
    assert intent.parameters == SCHEMA


def test_functions_of_a_namespace_are_named_by_it(tmp_path):
    space = {"type": "namespace", "name": "crm", "description": "customers", "tools": [RESPONSES]}
    flat = {**RESPONSES, "namespace": "home"}
    names = [intent.name for intent in intents(tmp_path, [space, flat, RESPONSES])]
    assert names == ["crm.set_alarm", "home.set_alarm", "set_alarm"]


@pytest.mark.parametrize(
    ("hints", "critical"),
    [
        ({"destructiveHint": True}, True),
        ({"destructiveHint": True, "readOnlyHint": False}, True),
        ({"destructiveHint": True, "readOnlyHint": True}, False),
        ({"destructiveHint": False}, False),
        ({}, False),
        (None, False),
    ],
)
def test_a_tool_that_destroys_is_critical(tmp_path, hints, critical):
    (intent,) = intents(tmp_path, [{**MCP, "annotations": hints}])
    assert intent.critical is critical


def test_what_an_intent_has_beside_a_tool_may_be_added_to_it(tmp_path):
    added = {"critical": True, "renamed_from": ["alarm"]}
    destroys = {"annotations": {"destructiveHint": True}, "critical": False}
    first, second = intents(tmp_path, [CHAT | added, {**MCP, **destroys, "name": "b"}])
    assert (first.critical, first.renamed_from, second.critical) == (True, ("alarm",), False)


def test_a_bare_schema_is_named_by_its_title_and_keeps_its_draft(tmp_path):
    model = {"title": "set_alarm", "description": "Wake the user", **DRAFT}
    (intent,) = intents(tmp_path, [model])
    assert (intent.name, intent.description) == tuple(TOOL.values())
    assert intent.parameters == {"title": "set_alarm", **DRAFT}
    (intent,) = intents(tmp_path, model)
    assert intent.name == "set_alarm"


def test_definitions_by_name_may_refer_to_parts_that_are_no_functions(tmp_path):
    value = {
        "$schema": DRAFT["$schema"],
        "title": "Tools",
        "$defs": {
            "time": {"type": "string", "pattern": "^[0-9]+$"},
            "set_alarm": {"type": "object", "properties": {"time": {"$ref": "#/$defs/time"}}},
        },
    }
    (intent,) = intents(tmp_path, value)
    assert (intent.name, intent.argument_names()) == ("set_alarm", frozenset({"time"}))
    wrong, right = ({"time": text} for text in ("six", "6"))
    assert argument_problems(intent, wrong, complete=True)
    assert not argument_problems(intent, right, complete=True)


def test_a_title_stands_in_for_a_missing_description(tmp_path):
    (intent,) = intents(tmp_path, [{"name": "a", "title": "Alarm", "inputSchema": SCHEMA}])
    assert intent.description == "Alarm"


def test_a_tool_without_a_schema_takes_no_arguments(tmp_path):
    (intent,) = intents(tmp_path, [{"name": "stop", "parameters": None, "description": None}])
    assert (intent.parameters, intent.description) == ({}, "")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([CHAT, {"description": "x"}], "tool 2 has no `name`"),
        ([{"function": {"name": "", "parameters": {}}}], "tool 1 has no `name`"),
        ([CHAT, {"type": "web_search"}],
         "tool 2 is a hosted tool (`web_search`), no function; leave it out"),
        ([CHAT, "set_timer"], "tool 2 is no object"),
        ([CHAT, {**MCP, "name": "b"}, ANTHROPIC],
         "two intents are (or were) named set_alarm: tool 1 and tool 3"),
        ([{"type": "namespace", "name": "crm", "tools": [RESPONSES, {}]}],
         "tool 1 (crm), tool 2 has no `name`"),
        ([CHAT, {**MCP, "name": "none"}], "tool 2 is named `none`"),
        ([CHAT | {"critcal": True}], "tool 1: unknown key critcal; is critical meant?"),
        ({"tools": [MCP], "nextCursor": "p2"},
         "is one page of a list (`nextCursor`); ask for the others and join them"),
        ({"model": "m"}, "holds no `tools`; it has model"),
        (3, "is neither a list of tools nor an object with `tools`"),
        ([{"name": "a", "parameters": {"type": "x"}}], "intent a: parameters.type is not valid"),
        ([{"name": "a", "parameters": "text"}], "intent a: parameters: "),
        ("[" * 100_000, "is nested too deeply"),
        ('{"tools": [', "cannot be read: "),
    ],
)  # fmt: skip
def test_what_is_no_list_of_functions_is_refused_with_its_place(tmp_path, value, message):
    with pytest.raises(ConfigError) as caught:
        intents(tmp_path, value)
    assert message in caught.value.message


def test_a_byte_order_mark_is_no_part_of_the_list_and_other_encodings_are_named(tmp_path):
    assert len(intents(tmp_path, "\ufeff" + json.dumps([CHAT]))) == 1
    (tmp_path / "tools.json").write_bytes(json.dumps([CHAT]).encode("utf-16"))
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load_intents(tmp_path / "tools.json")
