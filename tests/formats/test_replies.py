"""What an answer says: a call in every spelling, that none is made, or nothing at all."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.formats import BadEvent, parse, read_lines
from flywheel.formats.replies import Rule, Saying, read_reply
from flywheel.records import Call, Intent

CASES = Path(__file__).parent / "cases"
RECEIVED = datetime(2026, 11, 30, tzinfo=UTC)
KNOWN = {
    name: Intent(name=name, parameters={"properties": {"time": {}, "place": {}}})
    for name in ("set_alarm", "set_timer", "play_music", "get_weather")
}
SIX = Saying((Call("set_alarm", {"time": "six"}),))
ALARM = {"name": "set_alarm", "arguments": {"time": "six"}}
NAMED = Saying((Call("set_alarm", None),))
NO_CALL = Saying()


def reply(value, *, strict=False, known=KNOWN):
    return read_reply(value, "output", Rule(format="test", known=known, strict=strict))


def events(name):
    lines = (CASES / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def read(name):
    return read_lines(None, (CASES / name).read_bytes().split(b"\n"), KNOWN, received=RECEIVED)


def message(**fields):
    return {"role": "assistant", "content": None, **fields}


def test_twenty_spellings_are_one_call_and_null_is_refused():
    parsed = read("calls-shapes.jsonl")
    called = {(p.intent, json.dumps(p.arguments)) for p in parsed.predictions}
    assert called == {("set_alarm", '{"time": "six"}'), ("set_alarm", "{}")}
    assert [p.id for p in parsed.predictions if not p.arguments] == ["ltbare-name:obare-name"]
    assert len(parsed.predictions) == 20
    assert [(bad.line, bad.field) for bad in parsed.rejected] == [(21, "output")]


@pytest.mark.parametrize(
    "answer",
    [
        message(tool_calls=[{"type": "function", "function": ALARM}]),
        message(function_call={"name": "set_alarm", "arguments": '{"time": "six"}'}),
        message(tool_calls=[{"function": ALARM}], function_call=ALARM),
        message(content=[{"type": "tool_use", "name": "set_alarm", "input": {"time": "six"}}],
                tool_calls=[{"name": "set_alarm", "args": {"time": "six"}}]),
        message(content=[{"type": "thinking", "thinking": "hm"},
                         {"type": "text", "text": "I will."},
                         {"type": "tool_use", "name": "set_alarm", "input": {"time": "six"}}]),
        message(content=[{"type": "server_tool_use", "name": "set_alarm",
                          "input": {"time": "six"}}]),
        message(content='```json\n{"intent": "set_alarm", "slots": {"time": "six"}}\n```'),
        message(content='Sure: {"intent": "set_alarm", "parameters": {"time": "six"}}'),
        message(content=[{"type": "text", "text": '{"tool":"set_alarm", "args":{"time":"six"}}'}]),
        message(content="{'intent': 'set_alarm', 'arguments': {'time': 'six'}}"),
        message(content=None, parsed={"intent": "set_alarm", "arguments": {"time": "six"}}),
        message(content='set_alarm(time="six")'),
        message(content='[set_alarm(time="six")]'),
        message(content='<function=set_alarm>{"time": "six"}</function>'),
        message(content='[TOOL_CALLS] [{"name": "set_alarm", "arguments": {"time": "six"}}]'),
        {"type": "ai", "tool_calls": [{"name": "set_alarm", "args": {"time": "six"}}]},
        {"lc": 1, "id": ["langchain", "AIMessage"],
         "kwargs": {"content": "", "tool_calls": [{"name": "set_alarm", "args": {"time": "six"}}]}},
        {"generations": [[{"text": "", "message": message(tool_calls=[{"function": ALARM}])}]]},
        {"messages": [{"role": "user", "content": "hi"}, message(tool_calls=[{"function": ALARM}]),
                      {"role": "tool", "content": "ok"}, message(content="Done.")]},
        [{"type": "message", "role": "assistant",
          "content": [{"type": "output_text", "text": "ok"}]},
         {"type": "mcp_call", "name": "set_alarm", "arguments": '{"time": "six"}'}],
        [{"type": "function_call", **ALARM}, {"type": "function_call_output", "output": "ok"},
         {"type": "function_call", "name": "play_music", "arguments": "{}"}],
        [{"type": "tool-set_alarm", "toolCallId": "c", "input": {"time": "six"}}],
        {"parsed": {"intent": {"name": "set_alarm", "confidence": 0.9}, "slots": {"time": "six"}}},
        {"parsed": None, "raw": '{"intent": "set_alarm", "arguments": {"time": "six"}}'},
        {"intent": "set_alarm", "time": "six", "confidence": 0.9},
        {"intent": "set_alarm", "entities": [{"entity": "time", "value": "six"}]},
        {"intent": "set_alarm", "input": "wake me", "params": {"time": "six"}},
        {"function": ALARM},
        {"set_alarm": {"time": "six"}},
        [ALARM],
        json.dumps(json.dumps(ALARM)),
        {"text": "I will.", "toolCalls": [{"toolName": "set_alarm", "args": {"time": "six"}}]},
        message(refusal="no", content=[{"type": "tool_use", "name": "set_alarm",
                                        "input": {"time": "six"}}]),
        message(content="I will.", tool_calls=json.dumps([{"function": ALARM}])),
        message(content=json.dumps([{"type": "tool_use", "name": "set_alarm",
                                     "input": {"time": "six"}}])),
        {"required_action": {"submit_tool_outputs": {"tool_calls": [{"function": ALARM}]}}},
        'Thought: wake them.\nAction: set_alarm\nAction Input: {"time": "six"}\nObservation: ok',
    ],
)  # fmt: skip
def test_a_call_in_another_spelling_is_that_call(answer):
    assert reply(answer) == SIX
    assert reply(answer, strict=True) == SIX


@pytest.mark.parametrize(
    "label",
    ["set_alarm", " set_alarm\n", "`set_alarm`", '"set_alarm"', "set_alarm.",
     "intent: set_alarm", "Intent: `set_alarm`", {"intent": "set_alarm"}, ["set_alarm"],
     [{"type": "text", "text": "set_alarm"}], {"choices": [{"index": 0, "text": "set_alarm"}]}],
)  # fmt: skip
def test_a_known_intent_as_the_whole_answer_is_that_call(label):
    assert reply(label) == NAMED


@pytest.mark.parametrize(
    "answer",
    ["A horse walks into a bar.", "Done, six it is.", "OK", "none", "None", "好的，没问题",
     {"intent": None}, {"intent": "none"}, '{"intent": null}', {"tool": None, "arguments": {}},
     message(content="No.", tool_calls=[]), message(refusal="I cannot help with that"),
     message(content=[{"type": "refusal", "refusal": "No."}]),
     message(content=[{"type": "image"}, {"type": "text", "text": "a dog"}]),
     [{"type": "web_search_call"}, {"type": "message", "role": "assistant",
                                    "content": [{"type": "output_text", "text": "It rains."}]}]],
)  # fmt: skip
def test_words_a_refusal_and_the_word_none_say_that_no_call_is_made(answer):
    assert reply(answer) == NO_CALL


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (None, "`output` says neither a call nor words"),
        ("", "`output` says neither a call nor words"),
        (" \n", "`output` says neither a call nor words"),
        ([], "`output` says neither a call nor words"),
        (message(), "`output` says neither a call nor words"),
        (message(content=[]), "`output.content` says neither a call nor words"),
        (message(content="", tool_calls=[]), "`output.content` says neither a call nor words"),
        (message(content=[{"type": "thinking", "thinking": "hm"}]), "says neither a call nor"),
        ({"output": []}, "`output.output` says neither a call nor words"),
        ("SetAlarm", "`output` is `SetAlarm`, which is no known intent; `set_alarm`?"),
        ("set-alarm", "`output` is `set-alarm`, which is no known intent; `set_alarm`?"),
        ("Set Alarm", "`output` is `Set Alarm`, which is no known intent; `set_alarm`?"),
        ("alarm", "`output` is `alarm`, which is no known intent; `set_alarm`?"),
        ("setalarm", "which is no known intent; `set_alarm`?"),
        ("order.pizza", "which is no known intent; an answer without a call says `none`"),
        ("42", "`output` is `42`, which is no known intent"),
        ({"predicted_intent": "set_alarm"}, "`output.intent` is missing; `predicted_intent` is"),
        ({"label": "set_alarm"}, "`output.intent` is missing; `label` is there"),
        ({"intent": ""}, "`output.name` is empty"),
        ({"intent": ["set_alarm", "set_timer"]}, "`output.intent` is a list; several calls"),
        ({"name": "John", "age": 3}, "`output` is `John`, which is no known intent"),
        ({"answer": "yes", "score": 1}, "`output` names no call: none of `intent`"),
        ({"intent": "get_weather", "argumets": {"at": "x"}}, "`output.argumets` is no known name"),
        ('{"foo": ', "`output` is broken JSON that names no call"),
        (["set_alarm", "set_timer"], "`output` is a list of texts"),
        (message(content=[{"type": "tool_request_v2", "id": 1}]), "not known: `tool_request_v2`"),
        (message(content=[{"type": "text", "text": "ok"}, {"type": "my_call"}]), "`my_call`"),
        ({"choices": []}, "`output.choices` is not a list with a choice: the answer is empty"),
        ({"object": "chat.completion.chunk", "choices": [{"delta": {}}]}, "is a piece of a stream"),
        (7, "`output` is neither a call nor words"),
        ("I would call set_alarm here.", "names `set_alarm` between words"),
        ("<intent> set_alarm </intent>", "names `set_alarm` between words"),
        ('<invoke name="order"><parameter name="a">b</parameter></invoke>', "is broken JSON"),
        (
            message(content="ok", my_tool_calls=[{"name": "x"}]),
            "`output.my_tool_calls` is no known",
        ),
        (message(content="ok", data={"message": {"tool_calls": [ALARM]}}), "`output.data` holds"),
        ({"text": "ok", "result": json.dumps(ALARM)}, "`output.result` holds a call"),
        ({"route": "set_alarm", "refusal": "x"}, "`output.route` holds a call"),
        ({"route": "set_alarm", "name": "x", "slots": {}}, "`output` is `x`, which is no known"),
        (
            message(tool_calls=[{"name": "set_alarm", "payload": {"time": "six"}}]),
            "`output.tool_calls[0].payload` is no known name of arguments",
        ),
        ("true", "`output` says neither a call nor words"),
        ("\ud800", "`output` is not valid Unicode"),
    ],
)
def test_what_says_nothing_is_refused_with_the_nearest_shape(answer, complaint):
    with pytest.raises(BadEvent) as caught:
        reply(answer)
    assert complaint in str(caught.value)


def test_for_a_label_a_lone_word_is_never_prose():
    assert reply("Certainly") == NO_CALL
    with pytest.raises(BadEvent, match="is `Certainly`, which is no known intent"):
        reply("Certainly", strict=True)
    assert reply("A whole sentence says no call.", strict=True) == NO_CALL


@pytest.mark.parametrize(
    ("given", "arguments", "malformed"),
    [
        ('{}""', {}, True),
        ('{"place": "Par', {}, True),
        (["six"], {}, True),
        ([], {}, False),
        ("six", {}, True),
        ('"{\\"place\\": \\"Paris\\"}"', {"place": "Paris"}, False),
        ("", {}, False),
        ("null", {}, False),
        (None, {}, False),
        ([{"name": "place", "value": "Oslo"}], {"place": "Oslo"}, False),
    ],
)
def test_broken_arguments_keep_the_call(given, arguments, malformed):
    call = {"function": {"name": "get_weather", "arguments": given}}
    expected = Saying((Call("get_weather", arguments),), malformed)
    assert reply(message(tool_calls=[call])) == expected


def test_a_call_in_broken_json_keeps_its_name():
    cut = '{"intent": "set_alarm", "arguments": {"time": "s'
    assert reply(cut) == Saying((Call("set_alarm", {}),), True)
    assert reply(f"<tool_call>{cut}") == Saying((Call("set_alarm", {}),), True)


def test_several_calls_are_read_in_their_order():
    calls = [{"function": ALARM}, {"function": {"name": "play_music", "arguments": "{}"}}]
    both = (Call("set_alarm", {"time": "six"}), Call("play_music", {}))
    assert reply(message(tool_calls=calls)).calls == both
    tags = (
        f'<tool_call>{json.dumps(ALARM)}</tool_call><tool_call>{{"name":"play_music"}}</tool_call>'
    )
    assert [call.intent for call in reply(tags).calls] == ["set_alarm", "play_music"]


def test_a_former_name_is_known():
    known = {"wake": Intent(name="wake", renamed_from=("alarm_set",))}
    assert reply("alarm_set", known=known) == Saying((Call("alarm_set", None),))


def chunk(delta, finish=None):
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"object": "chat.completion.chunk", "choices": [choice]}


def test_a_whole_stream_is_put_together():
    pieces = [
        chunk({"role": "assistant", "tool_calls": [
            {"index": 0, "function": {"name": "set_alarm", "arguments": ""}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"time": '}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"six"}'}}]}),
        chunk({}, "tool_calls"),
    ]  # fmt: skip
    assert reply(pieces) == SIX
    assert reply("\n\n".join(f"data: {json.dumps(p)}" for p in pieces) + "\n\ndata: [DONE]") == SIX
    with pytest.raises(BadEvent, match="is a piece of a stream"):
        reply(pieces[:-1])
    events = [
        {"type": "message_start", "message": {}},
        {"type": "content_block_start", "index": 0,
         "content_block": {"type": "tool_use", "name": "set_alarm", "input": {}}},
        {"type": "content_block_delta", "index": 0, "delta": {"partial_json": '{"time":"six"}'}},
        {"type": "message_stop"},
    ]  # fmt: skip
    assert reply(events) == SIX
    whole = {"output": [{"type": "function_call", **ALARM}]}
    assert reply([{"type": "response.completed", "response": whole}]) == SIX


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
    | st.sampled_from(["set_alarm", "{", '{"a', "[x(", "data: {", "<tool_call>", "none"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["role", "content", "type", "name", "intent", "arguments", "tool_calls", "choices",
             "parts", "output", "function", "message", "text", "parsed", "delta", "kwargs", "id"]
        ),
        inner | st.sampled_from(["assistant", "tool_call", "message", "user", "tool"]),
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(answer=anything, strict=st.booleans())
def test_no_answer_raises_anything_but_its_own_error(answer, strict):
    for known in (KNOWN, None):
        with contextlib.suppress(BadEvent):
            said = reply(answer, strict=strict, known=known)
            assert all(call.intent.strip() and call.intent != "none" for call in said.calls)


@given(answer=st.text(max_size=30))
def test_a_text_that_is_no_known_name_never_becomes_a_call(answer):
    with contextlib.suppress(BadEvent):
        assert {call.intent for call in reply(answer).calls} <= {*KNOWN}


def test_an_answer_nested_without_end_is_refused():
    with pytest.raises(BadEvent):
        reply("[" * 100_000)
    with pytest.raises(BadEvent):
        reply('{"intent":' * 20_000)


def test_a_person_is_not_a_reminder_nor_the_result_of_a_tool():
    parsed = read("input-shapes.jsonl")
    texts = {p.id.removeprefix("lti-").partition(":")[0]: p.text for p in parsed.predictions}
    assert texts.pop("system-in-user").endswith("USER: wake me at six")
    assert set(texts.values()) == {"wake me at six"}


def test_a_label_in_another_column_is_named():
    whys = [bad.why for bad in read("wrong-key.jsonl").rejected]
    assert whys == [
        "is missing; `predicted_intent` is there: name it `intent`",
        "is missing; `label` is there: name it `intent`",
    ]


def test_what_cannot_be_read_of_a_prediction_costs_that_alone():
    kept = {p.id: p for p in read("float-over-one.jsonl").predictions}
    confidence = {key: kept[f"fo-{key}"].confidence for key in range(1, 9)}
    assert confidence == {1: 1, 2: 0, 3: None, 4: None, 5: 0.93, 6: None, 7: None, 8: None}
    assert (kept["fo-9"].latency_ms, kept["fo-10"].latency_ms) == (12, None)
    assert kept["fo-11"].slices == {"store": "12", "vip": "true"}
    assert kept["fo-12"].malformed
    assert not kept["fo-13"].malformed
    assert (kept["fo-15"].intent, kept["fo-15"].confidence) == ("set_alarm", 0.9)


def test_ids_are_texts_or_whole_numbers():
    parsed = read("ids.jsonl")
    ids = {p.text.removeprefix("id case "): p.id for p in parsed.predictions}
    assert (ids["1"], ids["16"], ids["17"]) == ("1", "6", "9007199254740993")
    assert [bad.line - 1 for bad in parsed.rejected] == [2, 3, 4, 5, 6]
    (whole,) = parse({**events("ids.jsonl")[0], "id": 7.0}).predictions
    assert whole.id == "7"


def test_a_verdict_is_read_only_where_it_is_plain():
    parsed = read("fb.jsonl")
    verdicts = {f.id: f.verdict for f in parsed.feedback}
    for number in (11, 12, 14, 15):
        assert verdicts[f"fb-{number}"] == "incorrect"
    assert [bad.line for bad in parsed.rejected] == [13, 16, 17, 19, 25]
    raters = {f.id: (f.rater, f.rater_kind) for f in parsed.feedback}
    assert raters["fb-20"] == ("77", "user")
    assert raters["fb-21"] == ("u1", "user")


def test_a_verdict_without_id_and_time_is_named_by_content_and_receipt():
    said = {"prediction_id": 7, "verdict": "correct"}
    first, again = (parse(said, "feedback", received=RECEIVED).feedback[0] for _ in range(2))
    later = parse(said, "feedback", received=RECEIVED.replace(hour=1)).feedback[0]
    assert (first.ts, first.prediction_id) == (RECEIVED, "7")
    assert first.id == again.id != later.id


def test_every_case_of_broken_arguments_keeps_its_prediction():
    kept = {p.id: p for p in read("tool-args-edge.jsonl").predictions}
    assert {key for key, p in kept.items() if p.malformed} == {"t-1", "t-2"}
    assert kept["t-3"].arguments == {"place": "Paris"}
    assert kept["t-6"].arguments == {"input": "Paris"}
    assert kept["t-7"].intent == "none"
    assert not kept["t-10"].calls


@pytest.mark.parametrize("intent", [{}, {"confidence": 0.9}])
def test_an_intent_without_a_name_is_refused_and_one_that_is_null_says_no_call(intent):
    rule = Rule(format="x")
    with pytest.raises(BadEvent, match=r"`output\.intent` has no `name`"):
        read_reply({"intent": intent, "arguments": {"a": 1}}, "output", rule)
    assert read_reply({"intent": {"name": None}}, "output", rule).calls == ()


@pytest.mark.parametrize("key", ["x_function_call", "Functioncall", "tool_usage"])
def test_a_call_under_an_unknown_name_beside_another_is_never_dropped(key):
    known = {"functionCall": {"name": "set_alarm", "args": {}}}
    other = {key: {"name": "play_music", "args": {"genre": "jazz"}}}
    for parts in ([known, other], [other, known]):
        with pytest.raises(BadEvent, match=f"block that is not known: `{key}`"):
            read_reply({"role": "model", "parts": parts}, "output", Rule(format="x"))
    for damaged in (True, [], 7):
        with pytest.raises(BadEvent, match="block that is not known: `functionCall`"):
            parts = [known, {"functionCall": damaged}]
            read_reply({"role": "model", "parts": parts}, "output", Rule(format="x"))
    thought = {"thought": True, "text": "I will call it"}
    said = read_reply({"role": "model", "parts": [thought, known]}, "output", Rule(format="x"))
    assert [call.intent for call in said.calls] == ["set_alarm"]
