"""Verdicts that come for free: a tool's call that failed, and one that a person refused."""

from datetime import UTC, datetime

import pytest

from flywheel.formats import anthropic, openai, openai_responses, otel
from flywheel.formats.reading import Context
from flywheel.formats.tool_results import call_ids

AT = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
NAMED = {"tool_error": "boolean inverted", "tool_refused": "boolean inverted"}
ASKED = {"role": "user", "content": "wake me at six"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "set_alarm", "input": {"time": "six"}}
BROKE = {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": True, "content": "no bell"}
DONE = {"id": "msg_2", "type": "message", "role": "assistant",
        "content": [{"type": "text", "text": "Done."}]}  # fmt: skip


def messages_api(*messages, response=DONE):
    return {"request": {"messages": [ASKED, *messages], "metadata": {"user_id": "u-1"}},
            "response": response, "timestamp": "2026-11-25T12:00:00Z"}  # fmt: skip


def responses_api(*items, output=()):
    answer = {"id": "resp_2", "object": "response", "created_at": 1795608000, "output": [
        *output, {"type": "message", "role": "assistant",
                  "content": [{"type": "output_text", "text": "Done."}]}]}  # fmt: skip
    return {"request": {"input": [ASKED, *items], "user": "u-1"}, "response": answer}


def seen(parsed):
    return [(s.id, s.prediction_id, s.name, s.value, s.rater_kind) for s in parsed.scores]


def test_a_failed_call_of_a_tool_is_a_score_on_the_answer_that_called_it():
    opened = messages_api(response={**DONE, "id": "msg_1", "content": [CALL]})
    failed = messages_api({"role": "assistant", "content": [CALL]},
                          {"role": "user", "content": [BROKE]})  # fmt: skip
    (answer,) = anthropic.read(opened, Context()).predictions
    parsed = anthropic.read(failed, Context())
    assert answer.aliases == ("toolu_1",)
    assert seen(parsed) == [("tool_error:toolu_1", "toolu_1", "tool_error", 1.0, "rule")]
    assert (parsed.predictions, parsed.feedback) == ((), ())
    (verdict,) = anthropic.read(failed, Context(scores=NAMED)).feedback
    assert (verdict.verdict, verdict.score) == ("incorrect", "anthropic:tool_error")


def test_a_failure_is_told_once_however_often_the_conversation_is_repeated():
    again = messages_api(
        {"role": "assistant", "content": [CALL]},
        {"role": "user", "content": [BROKE]},
        {"role": "assistant", "content": "It did not work."},
        {"role": "user", "content": "play jazz then"},
    )
    assert anthropic.read(again, Context()).scores == ()


def test_a_refusal_of_a_person_is_a_score_of_that_person():
    asks = {"type": "mcp_approval_request", "id": "mcpr_1", "name": "set_alarm", "arguments": "{}"}
    no = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": False}
    yes = {**no, "approve": True}
    refused = openai_responses.read(responses_api(asks, no), Context())
    assert seen(refused) == [("tool_refused:mcpr_1", "mcpr_1", "tool_refused", 1.0, "user")]
    assert [(s.rater, s.person) for s in refused.scores] == [("u-1", True)]
    assert refused.feedback == ()
    assert openai_responses.read(responses_api(asks, no), Context(scores=NAMED)).feedback
    assert openai_responses.read(responses_api(asks, yes), Context()).scores == ()


@pytest.mark.parametrize(
    "sign", [{"error": "timeout"}, {"status": "failed"}, {"error": {"code": 500}}]
)
def test_a_call_that_failed_on_the_server_is_told_by_its_own_answer(sign):
    ran = {"type": "mcp_call", "id": "mcp_1", "name": "set_alarm", "arguments": "{}", **sign}
    parsed = openai_responses.read(responses_api(output=[ran]), Context())
    assert parsed.predictions[0].aliases == ("mcp_1",)
    assert seen(parsed) == [("tool_error:mcp_1", "mcp_1", "tool_error", 1.0, "rule")]
    fine = {**ran, "error": None, "status": "completed"}
    assert openai_responses.read(responses_api(output=[fine]), Context()).scores == ()


def test_the_result_of_mcp_inside_a_message_of_a_tool_is_read():
    call = {"id": "c1", "function": {"name": "set_alarm", "arguments": "{}"}}
    result = {"role": "tool", "tool_call_id": "c1", "content": '{"content":[],"isError":true}'}
    event = {
        "request": {"messages": [ASKED, {"role": "assistant", "tool_calls": [call]}, result]},
        "response": {"id": "r2", "created": 1795608000,
                     "choices": [{"message": {"role": "assistant", "content": "Sorry."}}]},
    }  # fmt: skip
    assert seen(openai.read(event, Context())) == [
        ("tool_error:c1", "c1", "tool_error", 1.0, "rule")
    ]


def test_a_failed_span_of_a_tool_names_the_call_within_its_trace():
    inference = {
        "traceId": "ab", "spanId": "11", "timestamp": "2026-11-25T12:00:00Z",
        "gen_ai.input.messages": [ASKED],
        "gen_ai.output.messages": [{"role": "assistant", "parts": [
            {"type": "tool_call", "id": "c1", "name": "set_alarm", "arguments": {}}]}],
    }  # fmt: skip
    tool = {
        "traceId": "ab", "spanId": "12", "timestamp": "2026-11-25T12:00:01Z",
        "gen_ai.operation.name": "execute_tool", "gen_ai.tool.call.id": "c1",
        "error.type": "timeout",
    }  # fmt: skip
    (answer,) = otel.read(inference, Context()).predictions
    (failure,) = otel.read(tool, Context()).scores
    assert failure.prediction_id in answer.aliases
    without_id = {name: value for name, value in tool.items() if name != "gen_ai.tool.call.id"}
    (failure,) = otel.read(without_id, Context()).scores
    assert failure.prediction_id in answer.aliases
    fine = {name: value for name, value in tool.items() if name != "error.type"}
    assert otel.read(fine, Context()).scores == ()
    assert otel.read({**fine, "status": {"code": "STATUS_CODE_ERROR"}}, Context()).scores


@pytest.mark.parametrize("answer", [None, "c1", 7, [[]], {"role": "user", "content": [CALL]}])
def test_what_holds_no_call_has_no_ids(answer):
    assert call_ids(answer) == ()
