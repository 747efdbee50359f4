"""Numbers that JSON does not have cost a field where a reader asks for them, else the line."""

import pytest

from flywheel.file_records import json_faults


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'{"a": Infinity}', {"a": float("inf")}),
        (b'{"a": 1e400, "b": "x"}', {"a": float("inf"), "b": "x"}),
        (b'{"a": -Infinity}', {"a": float("-inf")}),
        (b'{"a": 1}', {"a": 1}),
    ],
)
def test_numbers_that_are_not_finite_are_read_where_they_are_asked_for(raw, value):
    assert json_faults.decoded_with_wide_numbers(raw) == value


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a": NaN, "b": "\\ud800"}',
        b'{"a": 1e400, "b": 123456789012345678901234}',
        b'{"a": NaN',
        b'{"a": NaN, "b": "\xff"}',
        b'{"a": ' + b"[" * 5_000 + b"}",
    ],
)
def test_everything_else_stays_no_json(raw):
    with pytest.raises(json_faults.NotJson):
        json_faults.decoded_with_wide_numbers(raw)
