"""Arguments against an intent's JSON Schema."""

from __future__ import annotations

import pytest

from flywheel.curation import argument_problems
from flywheel.records import NONE, Intent

ALARM = Intent(
    name="set_alarm",
    parameters={
        "type": "object",
        "required": ["time"],
        "properties": {
            "time": {"type": "string"},
            "days": {"type": "array", "items": {"enum": ["mon", "tue"]}},
            "volume": {"type": ["integer", "null"]},
            "loud": {"type": "boolean"},
            "label": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        },
    },
)


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
    assert argument_problems(ALARM, arguments, complete=True) == ()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({}, "arguments.time is missing"),
        ({"time": 7}, "arguments.time is not of type string"),
        ({"time": "7", "volume": True}, "arguments.volume is not of type integer or null"),
        ({"time": "7", "volume": 2.5}, "arguments.volume is not of type integer or null"),
        ({"time": "7", "days": ["mon", "sun"]}, "arguments.days[1] is none of mon, tue"),
        ({"time": "7", "loud": 1}, "arguments.loud is not of type boolean"),
        ({"time": "7", "label": 3}, "arguments.label fits none of the schema's choices"),
        ({"time": "7", "place": "bed"}, "arguments.place is not in the schema"),
    ],
)
def test_what_does_not_fit_is_named_with_its_path(arguments, problem):
    assert argument_problems(ALARM, arguments, complete=True) == (problem,)


def test_a_correction_may_leave_required_arguments_out():
    assert argument_problems(ALARM, {"volume": 3}, complete=False) == ()


def test_no_call_takes_no_arguments():
    assert argument_problems(Intent(name=NONE), {}, complete=True) == ()
    assert argument_problems(Intent(name=NONE), {"time": "7"}, complete=False) == (
        "`none` takes no arguments",
    )


def test_an_intent_without_a_schema_takes_anything():
    assert argument_problems(Intent(name="play"), {"song": "夜曲"}, complete=True) == ()


def test_additional_arguments_may_be_forbidden_or_welcomed():
    closed = Intent(name="play", parameters={"additionalProperties": False})
    opened = Intent(
        name="play", parameters={"properties": {"song": {}}, "additionalProperties": True}
    )
    assert argument_problems(closed, {"song": "夜曲"}, complete=False) == (
        "arguments.song is not in the schema",
    )
    assert argument_problems(opened, {"by": "周杰伦"}, complete=True) == ()
