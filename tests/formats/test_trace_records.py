"""Traces: one turn of a person is one answer, whatever spans repeat it."""

import itertools
import json
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from flywheel.formats import FORMATS, otel, otlp
from flywheel.formats.reading import Context, merged
from flywheel.records import Intent

RECEIVED = datetime(2026, 11, 30, tzinfo=UTC)
KNOWN = {name: Intent(name=name) for name in ("set_alarm", "play_music")}
CONTEXT = Context(received=RECEIVED, known=KNOWN)
FIXTURES = Path(__file__).parent / "fixtures"
(LOOP,) = (
    row["event"]
    for row in json.loads((FIXTURES / "otel.json").read_text(encoding="utf-8"))
    if "invoke_agent router" in json.dumps(row["event"])
)


def span(number, parent=0, operation="chat", answer="Done.", **more):
    parts = (
        [{"type": "text", "content": answer}]
        if isinstance(answer, str)
        else [{"type": "tool_call", "id": "c1", "name": name, "arguments": {}} for name in answer]
    )
    return {
        "traceId": "ab",
        "spanId": f"{number:02x}",
        **({"parentSpanId": f"{parent:02x}"} if parent else {}),
        "startTimeUnixNano": str(1763629200_000000000 + number),
        "attributes": {
            "gen_ai.operation.name": operation,
            "gen_ai.input.messages": [{"role": "user", "content": "wake me at six"}],
            "gen_ai.output.messages": [{"role": "assistant", "parts": parts}],
        },
        **more,
    }


def envelope(*spans):
    return {"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}


def best(parsed):
    """The record that counts, as the store chooses it."""
    return max(parsed.predictions, key=lambda each: (each.precedence, -each.ts.timestamp()))


def test_an_agents_loop_is_one_answer_with_the_ids_of_what_is_around_it():
    parsed = otel.read(LOOP, CONTEXT)
    (answer,) = parsed.predictions
    assert (answer.id, answer.intent, answer.arguments) == (
        "chatcmpl-20",
        "set_alarm",
        {"time": "six"},
    )
    assert {"10", "11", "ab"} <= set(answer.aliases)
    assert sum(parsed.skipped.values()) == 3


def test_the_innermost_answer_with_a_call_counts_in_any_order_and_any_batches():
    spans = [
        span(1, operation="invoke_workflow"),
        span(2, 1, "invoke_agent", ["set_alarm"]),
        span(3, 2, answer=["set_alarm"]),
    ]
    for order in itertools.permutations(spans):
        together = otel.read(envelope(*order), CONTEXT)
        apart = merged(otel.read(each, CONTEXT) for each in order)
        for parsed in (together, apart):
            assert {each.exchange for each in parsed.predictions} == {
                parsed.predictions[0].exchange
            }
            assert (best(parsed).id, best(parsed).intent) == ("03", "set_alarm")


def test_an_agents_last_word_after_tools_is_no_answer_without_a_call():
    tool = {
        "traceId": "ab",
        "spanId": "04",
        "attributes": {"gen_ai.operation.name": "execute_tool"},
    }
    agent = span(1, operation="invoke_agent")
    assert otel.read(envelope(agent), CONTEXT).predictions[0].intent == "none"
    assert otel.read(envelope(agent, tool), CONTEXT).predictions == ()


def test_every_record_of_an_envelope_says_by_itself_what_it_says_in_it():
    for name in ("otel", "openinference"):
        for row in json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8")):
            event = row["event"] if otlp.is_envelope(row["event"]) else envelope(row["event"])
            apart = merged(otel.read(each, CONTEXT) for each in otel.unfolded(event))
            assert apart == otel.read(event, CONTEXT)


@given(st.integers(1, 6), st.data())
def test_accepted_skipped_and_rejected_are_all_the_records(count, data):
    kinds = [
        span(1),
        span(2, answer=["play_music"]),
        {"spanId": "03", "name": "GET /"},
        {**span(4), "attributes": {"gen_ai.operation.name": "chat"}},
        {**span(5), "spanId": None},
        {**span(6), "attributes": {"gen_ai.operation.name": "embeddings"}},
    ]
    spans = [data.draw(st.sampled_from(kinds)) for _ in range(count)]
    parsed = otel.read(envelope(*spans), CONTEXT)
    told = len(parsed.predictions) + sum(parsed.skipped.values()) + len(parsed.rejected)
    assert told == count == len(otel.unfolded(envelope(*spans)))


def test_an_id_of_zeros_is_none():
    zeros = span(1, spanId="0" * 16, traceId="0x" + "0" * 32)
    (rejected,) = otel.read(envelope(zeros), CONTEXT).rejected
    assert rejected.field == "gen_ai.response.id"


def test_a_span_of_openinference_is_read_as_one_wherever_it_stands():
    rows = json.loads((FIXTURES / "openinference.json").read_text(encoding="utf-8"))
    for row in rows:
        alone = FORMATS["openinference"].read(row["event"], CONTEXT)
        assert otel.read(row["event"], CONTEXT) == alone


def test_an_answer_that_ended_with_a_call_is_never_taken_for_none():
    ended = span(1)
    ended["attributes"]["gen_ai.response.finish_reasons"] = ["tool_calls"]
    (rejected,) = otel.read(envelope(ended), CONTEXT).rejected
    assert rejected.field == "gen_ai.output.messages"
    assert rejected.why == "ended with a call of a tool, but hold none that can be read"
    called = span(1, answer=["set_alarm"])
    called["attributes"]["gen_ai.response.finish_reasons"] = ["tool_calls"]
    assert otel.read(envelope(called), CONTEXT).predictions[0].intent == "set_alarm"


def test_calls_of_the_ai_sdk_that_cannot_be_read_are_refused():
    attributes = {
        "gen_ai.system": "openai",
        "ai.prompt.messages": [{"role": "user", "content": "wake me"}],
        "ai.response.text": "Done.",
    }
    for calls in (True, 7, [None], ["x"]):
        broken = {**span(1), "attributes": {**attributes, "ai.response.toolCalls": calls}}
        parsed = otel.read(envelope(broken), CONTEXT)
        assert (len(parsed.rejected), parsed.predictions) == (1, ())
