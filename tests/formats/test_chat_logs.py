"""Logged requests of chat models: one turn is one prediction, and every id names it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flywheel.formats import BadEvent, parse, read_lines
from flywheel.records import Intent

CASES = Path(__file__).parent / "cases"
RECEIVED = datetime(2026, 11, 30, tzinfo=UTC)
KNOWN = {name: Intent(name=name) for name in ("set_alarm", "set_timer", "play_music")}


def read(name):
    return read_lines(None, (CASES / name).read_bytes().split(b"\n"), KNOWN, received=RECEIVED)


def test_one_turn_of_an_agent_is_one_prediction():
    parsed = read("agent-loop.jsonl")
    assert [(p.id, p.intent) for p in parsed.predictions] == [
        ("r-10", "set_alarm"),
        ("r-12", "set_alarm"),
    ]
    why = "continues a turn: a tool's result follows the last message of a person"
    assert parsed.skipped == {why: 1}


def test_observations_of_one_exchange_share_it_and_the_generation_comes_first():
    parsed = read("langfuse-types.jsonl")
    agent, span = parsed.predictions
    assert agent.exchange == span.exchange != ""
    assert (agent.precedence, span.precedence) == (110, 100)
    assert agent.aliases == ("a1", "tr-9")
    assert parsed.skipped == {"is no answer of a model (TOOL)": 1}


def test_a_text_or_a_category_is_never_judged_by_its_value():
    for name in ("langfuse-text-score.jsonl", "langfuse-blob-scores-without-source.jsonl"):
        parsed = read(name)
        assert not parsed.rejected
        assert {f.score for f in parsed.feedback} <= {"langfuse:user-feedback"}
        assert all(s.value is None for s in parsed.scores if s.kind in ("label", "text"))
    assert [(s.kind, s.label) for s in parsed.scores] == [
        ("flag", ""),
        ("label", "correct"),
        ("label", "incorrect"),
        ("text", "all fine, thank you"),
    ]


def test_a_score_of_a_trace_is_a_verdict_on_it():
    verdicts = [(f.prediction_id, f.verdict) for f in read("langfuse-trace-score.jsonl").feedback]
    assert verdicts == [("tr-9", "correct"), ("tr-9", "incorrect")]


def test_every_call_of_responses_is_read_however_it_was_logged():
    for name, count in (("openai-responses.jsonl", 3), ("nvidia-flywheel-no-id.jsonl", 2)):
        parsed = read(name)
        assert len({p.id for p in parsed.predictions}) == count
        assert not parsed.rejected
    assert [bad.why for bad in read("litellm-aresponses.jsonl").rejected] == [
        "says neither a call nor words"
    ] * 2


def test_a_record_without_an_id_is_named_by_its_content():
    row = json.loads((CASES / "nvidia-flywheel-no-id.jsonl").read_text().splitlines()[0])
    (first,), (again,) = (parse(row).predictions for _ in range(2))
    (later,) = parse({**row, "timestamp": row["timestamp"] + 1}).predictions
    assert first.id == again.id != later.id


@pytest.mark.parametrize(
    ("change", "session", "rater"),
    [
        ({"session_id": "s-1", "user_id": 7}, "s-1", "7"),
        ({"metadata": {"sessionId": "s-2", "user_id": "u-2"}}, "s-2", "u-2"),
        ({"metadata": '{"thread_id": "s-3", "user": "u-3"}'}, "s-3", "u-3"),
        ({"conversation": {"id": "s-4"}, "end_user": "u-4"}, "s-4", "u-4"),
        ({}, "", ""),
    ],
)
def test_whose_it_is_is_found_wherever_it_is_said(change, session, rater):
    event = {
        "timestamp": 1_763_629_200,
        "request": {"messages": [{"role": "user", "content": "wake me"}]},
        "response": {"id": "r", "choices": [{"message": {"role": "assistant", "content": "No."}}]},
    }
    (made,) = parse({**event, **change}).predictions
    assert (made.session, made.rater) == (session, rater)


def test_a_request_of_tool_results_alone_continues_a_turn():
    event = {
        "timestamp": 1_763_629_200,
        "request": {"messages": [{"role": "tool", "content": "ok"}]},
        "response": {"id": "r", "choices": [{"message": {"role": "assistant", "content": "No."}}]},
    }
    assert parse(event).skipped == {"continues a turn: it brings a tool's result": 1}


@pytest.mark.parametrize(
    "block", [{"type": "text", "text": 3.5}, {"type": "text", "texts": "wake"}]
)
def test_a_last_message_without_readable_words_is_refused_and_no_earlier_one_is_taken(block):
    messages = [{"role": "user", "content": "hello"}, {"role": "user", "content": [block]}]
    event = {
        "request": {"messages": messages},
        "response": {
            "id": "r",
            "created": 1763629200,
            "choices": [{"message": {"content": "Hi!"}}],
        },
    }
    with pytest.raises(BadEvent, match=r"`request.messages\[1\].content\[0\].text` is not a text"):
        parse(event)
    image = {"type": "image_url", "image_url": {"url": "data:x"}}
    messages[1]["content"] = [image]
    assert parse(event).predictions[0].text == "hello"
