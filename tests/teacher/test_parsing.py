"""What is read of an answer, however a model wraps or breaks it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.records import Intent
from flywheel.teacher.parsing import LONGEST_ANSWER, LONGEST_TEXT, read

ALARM = Intent(name="set_alarm", parameters={"properties": {"time": {"type": "string"}}})
MESSAGE = Intent(name="send_message", parameters={"properties": {"text": {"type": "string"}}})
TWO = (
    '{"samples": [{"text": "wake me at six", "arguments": {"time": "six"}}, {"text": "六点叫我"}]}'
)

texts = st.text(min_size=1, max_size=40)


def said(answer: str) -> list[str]:
    return [draft.text for draft in read(answer, ALARM).drafts]


@pytest.mark.parametrize(
    "answer",
    [
        TWO,
        f"\ufeff{TWO}",
        f"```json\n{TWO}\n```",
        f"```\n{TWO}\n```",
        f"Sure! Here are the sentences you {{asked}} for [2]:\n\n{TWO}\n\nAnything else?",
        '{"text": "wake me at six"}\n{"text": "六点叫我"}',
        '{"samples": [{"text": "wake me at six"}]} {"samples": [{"text": "六点叫我"}]}',
        '[{"text": "wake me at six"}, {"text": "六点叫我"}]',
        '["wake me at six", "六点叫我"]',
        '{"sentences": ["wake me at six", "六点叫我"]}',
        '{"samples": [{"utterance": "wake me at six"}, {"sentence": "六点叫我"}]}',
        TWO[:-2] + ', {"text": "wake me at sev',
        TWO[:-2] + ', {"text": "x", "arguments": {"time": "ten"',
        TWO[:-2],
        '<think>maybe {"text": "no"}</think>' + TWO,
        TWO.replace("wake me", " wake \\n me"),
        TWO.replace("wake", "wa\\u0000ke").replace("wa\\u0000ke", "wake\\u0000"),
        TWO.replace('}, {"text"', '},, {"text"'),
    ],
)
def test_two_samples_are_read_through_any_wrapping(answer: str) -> None:
    assert said(answer) == ["wake me at six", "六点叫我"]


@pytest.mark.parametrize(
    "answer", ["", "I'm sorry, I can't help.", "{}", '{"samples": []}', "[]", "null"]
)
def test_an_answer_without_samples_says_so(answer: str) -> None:
    parsed = read(answer, ALARM)
    assert (parsed.drafts, parsed.problems) == ((), ("no sample in it",))


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        ("{}", "no text"),
        ('{"text": ""}', "no text"),
        ('{"text": 7}', "no text"),
        ('{"text": null}', "no text"),
        ("7", "not an object"),
        ('{"text": "x", "intent": "drop_tables"}', "an intent that was not asked for"),
        ('{"text": "x", "intent": ["set_alarm"]}', "an intent that was not asked for"),
        ('{"text": "x", "arguments": {"volume": 3}}', "an argument the intent does not have"),
        ('{"text": "x", "arguments": "{time"}', "arguments that are not JSON"),
        ('{"text": "x", "arguments": [1]}', "arguments that are not an object"),
        (json.dumps({"text": "x" * (LONGEST_TEXT + 1)}), "longer than 500 characters"),
        ('{"text": "good"}', "said before"),
    ],
)
def test_a_bad_sample_is_told_by_its_place_and_costs_no_other(item: str, problem: str) -> None:
    parsed = read(f'{{"samples": [{{"text": "good"}}, {item}, {{"text": "fine"}}]}}', ALARM)
    assert [draft.text for draft in parsed.drafts] == ["good", "fine"]
    assert parsed.problems == (f"sample 2: {problem}",)


def test_arguments_are_kept_as_said_and_unsaid_ones_left_out() -> None:
    answer = """{"samples": [
        {"text": "a", "arguments": {"time": "six"}}, {"text": "b", "arguments": {"time": null}},
        {"text": "c"}, {"text": "d", "arguments": "{\\"time\\": \\"七点\\"}"}]}"""
    found = [draft.arguments for draft in read(answer, ALARM).drafts]
    assert found == [{"time": "six"}, {}, None, {"time": "七点"}]


def test_a_sample_that_names_another_intent_than_the_asked_one_is_none() -> None:
    answer = """[{"text": "a", "intent": "set_timer", "arguments": {"duration": "an hour"}},
        {"text": "b", "intent": "none"}, {"text": "c", "intent": "set_alarm"}, {"text": "d"}]"""
    parsed = read(answer, ALARM)
    assert [draft.text for draft in parsed.drafts] == ["c", "d"]
    assert len(parsed.problems) == 2


def test_an_argument_named_text_is_no_sample_when_the_answer_is_cut_off() -> None:
    answer = '{"samples": [{"text": "tell Bo hi", "arguments": {"text": "hi"}, "no'
    assert read(answer, MESSAGE).drafts == ()


def test_a_hostile_answer_ends_quickly() -> None:
    for hostile in ("[{" * 100_000, '{"a":' * 40_000, '[["' * 70_000, "{" * 500_000):
        assert read(hostile, ALARM).drafts == ()


def test_an_endless_answer_is_read_to_a_limit() -> None:
    answer = '{"samples": [{"text": "good"}, ' + " " * LONGEST_ANSWER
    parsed = read(answer, ALARM)
    assert [draft.text for draft in parsed.drafts] == ["good"]
    assert parsed.problems == ("longer than 200000 characters",)


@given(st.text())
def test_nothing_a_model_says_raises(answer: str) -> None:
    read(answer, ALARM)


@given(
    st.recursive(st.none() | st.integers() | st.text(), st.lists)
    | st.dictionaries(st.text(), st.text())
)
def test_no_json_raises(value: object) -> None:
    read(json.dumps({"samples": value}), ALARM)
    read(json.dumps(value), ALARM)


@given(st.lists(texts, min_size=1, max_size=5), st.data())
def test_a_cut_off_answer_gives_its_whole_samples_in_order(
    said_: list[str], data: st.DataObject
) -> None:
    answer = json.dumps({"samples": [{"text": text} for text in said_]}, ensure_ascii=False)
    whole = said(answer)
    cut = data.draw(st.integers(0, len(answer)))
    partly = said(answer[:cut])
    assert partly == whole[: len(partly)]
