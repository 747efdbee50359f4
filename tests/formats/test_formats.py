"""Every format: its fixture, its errors, and what no event may do."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel import formats
from flywheel.formats import FORMATS, BadEvent, Parsed, detect, parse
from flywheel.formats.native import sample
from flywheel.records import Call, Feedback, Intent, Prediction, Sample, Score

RECEIVED = datetime(2026, 11, 25, 13, 0, tzinfo=UTC)
FIXTURES = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parent / "fixtures").glob("*.json"))
}
ROWS = [
    pytest.param(name, row, id=f"{name}-{number}")
    for name, rows in FIXTURES.items()
    for number, row in enumerate(rows, 1)
]


def prediction(**fields):
    return Prediction(**event(fields))


def feedback(**fields):
    return Feedback(**event(fields))


def score(**fields):
    return Score(**event(fields))


def event(fields):
    calls = tuple(Call(**call) for call in fields.get("calls", ()))
    aliases = {"aliases": tuple(fields["aliases"])} if "aliases" in fields else {}
    return {**fields, **aliases, "ts": datetime.fromisoformat(fields["ts"]), "calls": calls}


def records(says):
    return Parsed(
        predictions=tuple(prediction(**row) for row in says.get("predictions", ())),
        feedback=tuple(feedback(**row) for row in says.get("feedback", ())),
        scores=tuple(score(**row) for row in says.get("scores", ())),
        samples=tuple(Sample(**row) for row in says.get("samples", ())),
        answers={key: tuple(value) for key, value in says.get("answers", {}).items()},
        skipped={"": says["skipped"]} if "skipped" in says else {},
    )


def bare(parsed):
    """Samples without provenance and what is skipped without its reason, as fixtures have it."""
    samples = tuple(msgspec.structs.replace(s, provenance={}) for s in parsed.samples)
    skipped = sum(parsed.skipped.values())
    parsed = dataclasses.replace(
        parsed, feedback=tuple(one for one in parsed.feedback if one.rater != "malformed")
    )
    return dataclasses.replace(parsed, samples=samples, skipped={"": skipped} if skipped else {})


def test_every_format_has_a_fixture():
    assert set(FIXTURES) == set(FORMATS)


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_an_event_is_detected_by_its_shape_and_says_what_its_fixture_says(name, row):
    untouched = copy.deepcopy(row["event"])
    assert detect(row["event"]) == name
    assert bare(parse(row["event"], received=RECEIVED)) == records(row["says"])
    assert parse(row["event"], None, name, received=RECEIVED) == parse(
        row["event"], received=RECEIVED
    )
    assert row["event"] == untouched


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_no_event_has_the_shape_of_two_formats(name, row):
    assert [n for n, reader in FORMATS.items() if reader.recognises(row["event"])] == [name]


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_foreign_events_are_what_they_are_wherever_they_are_sent(name, row):
    if name in ("native", "sft"):
        return
    for kind in ("predictions", "feedback"):
        assert parse(row["event"], kind, received=RECEIVED) == parse(
            row["event"], received=RECEIVED
        )


@pytest.mark.parametrize(
    ("name", "number", "without", "field"),
    [
        ("native", 0, "id", "id"),
        ("native", 0, "ts", "ts"),
        ("native", 3, "prediction_id", "prediction_id"),
        ("native", 3, "intent", "intent"),
        ("native", 6, "split", "split"),
        ("openai", 0, "response.choices", "response.choices"),
        ("openai", 0, "request.messages", "request.messages"),
        ("sft", 0, "messages", "messages"),
        ("tensorzero", 0, "id", "id"),
        ("tensorzero", 0, "input", "input"),
        ("tensorzero", 0, "output", "output"),
        ("tensorzero", 3, "inference_id", "inference_id"),
        ("tensorzero", 3, "value", "value"),
        ("otel", 0, "attributes.gen_ai.input.messages", "gen_ai.input.messages"),
        ("otel", 0, "attributes.gen_ai.output.messages", "gen_ai.output.messages"),
        ("otel", 0, "attributes.gen_ai.response.id", "gen_ai.response.id"),
        ("otel", 1, "attributes.gen_ai.response.id", "gen_ai.response.id"),
        ("langfuse", 0, "traceId", "traceId"),
        ("langfuse", 0, "input", "input"),
        ("langfuse", 1, "output", "output"),
        ("langfuse", 0, "startTime", "startTime"),
        ("langfuse", 3, "value", "value"),
        ("langfuse", 7, "input", "input"),
        ("phoenix", 0, "span_id", "span_id"),
        ("phoenix", 0, "name", "annotation_name"),
        ("phoenix", 0, "result", "result"),
        ("mlflow", 0, "trace_id", "trace_id"),
        ("mlflow", 0, "value", "value"),
        ("litellm", 0, "id", "id"),
        ("litellm", 0, "messages", "messages"),
        ("litellm", 0, "response", "response"),
        ("litellm", 0, "startTime", "startTime"),
        ("rasa", 0, "sender_id", "sender_id"),
        ("rasa", 0, "timestamp", "timestamp"),
        ("rasa", 0, "parse_data", "parse_data"),
    ],
)
def test_a_missing_field_is_named_with_its_format(name, number, without, field):
    event = copy.deepcopy(FIXTURES[name][number]["event"])
    holder, path = event, without
    for outer in ("attributes", "request", "response"):
        if without.startswith(f"{outer}."):
            holder, path = event[outer], without.removeprefix(f"{outer}.")
    del holder[path]
    kind = "samples" if name == "native" and number == 6 else None
    with pytest.raises(BadEvent) as caught:
        parse(event, kind, name, received=RECEIVED)
    assert (caught.value.format, caught.value.field) == (name, field)
    assert caught.value.why.startswith("is missing")
    assert str(caught.value).startswith(f"{name}: `{field}` is missing")


@pytest.mark.parametrize(
    ("name", "number", "change", "complaint"),
    [
        ("native", 0, {"ts": "20/11/2026 09:00"}, "`ts` may be of two days: write the year first"),
        ("native", 0, {"ts": "soon"}, "`ts` is not a time"),
        ("native", 0, {"ts": 1e300}, "`ts` is not a time"),
        ("native", 0, {"ts": True}, "`ts` is not a time"),
        ("native", 0, {"ts": "0001-01-01T00:00:00+14:00"}, "`ts` is not a time"),
        ("native", 0, {"ts": "9999-12-31T00:00:00Z"}, "`ts` is in the future: 9999-12-31"),
        ("native", 0, {"ts": "1969-12-31T23:59:59Z"}, "`ts` is before 1970"),
        ("native", 0, {"id": 7.5}, "`id` is a number, not an id"),
        ("native", 0, {"id": True}, "`id` is true or false, not an id"),
        ("native", 0, {"intent": ""}, "`intent` is empty"),
        ("native", 0, {"intent": ["a", "b"]}, "`intent` is a list; several calls of one answer"),
        ("native", 0, {"calls": [{"intent": "other"}]}, "`calls` begin with `other`, but `intent`"),
        ("native", 0, {"text": " "}, "`text` is empty"),
        ("native", 0, {"text": "\ud800"}, "`text` is not valid Unicode"),
        ("native", 0, {"arguments": {"a": float("inf")}}, "`arguments.a` is not JSON"),
        ("native", 0, {"slices": {"channel": []}}, "`slices.channel` is not a text"),
        ("native", 3, {"intent": ""}, "`intent` is empty"),
        ("native", 3, {"arguments": "{"}, "`arguments` are broken: not a JSON object"),
        ("native", 3, {"verdict": 0}, "`verdict` is a number, none of correct"),
        ("native", 3, {"verdict": None, "rating": 5}, "`verdict` is missing; `rating` is there"),
        ("native", 3, {"verdict": "meh"}, "`verdict` is `meh`, none of correct"),
        ("native", 3, {"rater_kind": "bot"}, "`rater_kind` is `bot`, none of user"),
        ("native", 6, {"split": "test"}, "`split` is `test`, none of seed"),
        ("native", 6, {"must_pass": "yes"}, "`must_pass` is a text, not true or false"),
        ("native", 6, {"answer": 3}, "`answer` is neither an intent's name nor an object"),
        ("tensorzero", 3, {"value": [4]}, "`value` is neither true or false, a finite number"),
        ("tensorzero", 0, {"input": "{"}, "`input` is not JSON"),
        ("langfuse", 4, {"value": None, "stringValue": "blue"}, "`value` is missing"),
        ("langfuse", 3, {"value": 2}, "`value` is neither true nor false"),
        ("langfuse", 7, {"expectedOutput": None}, "`expectedOutput` is missing"),
        ("langfuse", 7, {"expectedOutput": "Musik"}, "`expectedOutput` is `Musik`, which is no"),
        ("langfuse", 0, {"input": {"foo": 1}}, "`input` has no text: none of messages, text"),
        ("litellm", 0, {"messages": {}}, "`messages` are empty: set `store_prompts_in_spend_logs`"),
        ("litellm", 0, {"response": {}}, "`response` is empty: set `store_prompts_in_spend_logs`"),
        ("langfuse", 6, {"stringValue": "the other one"}, "`stringValue` is a text"),
        ("langfuse", 3, {"source": "BOT"}, "`source` is `BOT`, none of ANNOTATION, API, EVAL"),
        ("phoenix", 2, {"annotator_kind": "BOT"}, "`annotator_kind` is `BOT`, none of HUMAN, LLM"),
        ("phoenix", 2, {"result": {"label": " "}}, "`result.label` is empty"),
        ("mlflow", 0, {"source": {"source_type": "X"}}, "`source.source_type` is `X`, none of"),
        ("litellm", 0, {"messages": "redacted-by-litellm"}, "`messages` was redacted"),
        ("litellm", 0, {"messages": []}, "`messages` has no user message with a text"),
        ("rasa", 0, {"parse_data": []}, "`parse_data` is a list, not an object"),
        ("rasa", 0, {"parse_data": {"text": "hi"}}, "`parse_data.intent` is missing"),
        ("rasa", 0, {"parse_data": {"intent": {"name": "a"}, "Entities": []}},
         "`parse_data.entities` is missing; `Entities` is there"),
        ("sft", 0, {"messages": "hi"}, "`messages` does not end with an"),
        ("openai", 0, {"response": {"id": "r", "choices": []}}, "`response.choices` is not a list"),
        ("openai-responses", 1, {"input": None}, "`input` is missing: a response alone does not"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named_with_what_is_wrong(name, number, change, complaint):
    event = {**FIXTURES[name][number]["event"], **change}
    with pytest.raises(BadEvent) as caught:
        parse(event, None, name, received=RECEIVED)
    assert str(caught.value).startswith(f"{name}: {complaint}")


def test_feedback_on_a_whole_episode_names_its_answer_by_the_episode():
    event = {"metric_name": "ok", "value": True, "episode_id": "e"}
    (verdict,) = parse(event, received=RECEIVED).feedback
    assert verdict.prediction_id == "e"


def test_a_score_of_a_whole_trace_names_its_answer_by_the_trace():
    (seen,) = parse({**FIXTURES["langfuse"][3]["event"], "observationId": None}).scores
    assert seen.prediction_id == "tr-1"
    session = {**FIXTURES["langfuse"][3]["event"], "observationId": None, "traceId": None}
    skipped = parse({**session, "sessionId": "s"}, None, "langfuse").skipped
    assert skipped == {"is a score of a whole session or run": 1}


def test_posted_feedback_without_a_time_takes_that_of_its_receipt_or_of_its_inference():
    event = FIXTURES["tensorzero"][3]["event"]
    (received,) = parse(event, received=RECEIVED).feedback
    (derived,) = parse(event).feedback
    (later,) = parse(event, received=RECEIVED + timedelta(seconds=1)).feedback
    assert received.ts == RECEIVED
    assert derived.ts == datetime(2025, 11, 25, 6, 9, 11, 168000, tzinfo=UTC)
    assert len({received.id, later.id, derived.id}) == 3
    with pytest.raises(BadEvent, match="phoenix: `updated_at` is missing"):
        parse(FIXTURES["phoenix"][0]["event"])


def test_an_unknown_shape_is_native_where_it_is_known_what_it_should_be():
    with pytest.raises(BadEvent, match="native: `id` is missing"):
        parse({"hello": 1}, "predictions")
    with pytest.raises(BadEvent, match="native: `verdict` is missing"):
        parse({"hello": 1}, "feedback")
    with pytest.raises(BadEvent, match="auto: has the shape of none of native, otel"):
        parse({"hello": 1})
    with pytest.raises(BadEvent, match="auto: is not an object"):
        parse([])  # type: ignore[arg-type]


def test_an_unknown_kind_or_format_is_the_callers_mistake():
    with pytest.raises(ValueError, match="kind `prediction` is none of predictions"):
        parse({}, "prediction")
    with pytest.raises(ValueError, match="format `xml` is none of auto, native"):
        parse({}, None, "xml")


def test_a_logged_answer_becomes_a_label_only_where_its_split_is_named():
    several = FIXTURES["openai"][0]["event"]
    with pytest.raises(BadEvent, match="openai: `calls` are several, and a sample has one"):
        parse({**several, "split": "golden"}, "samples")
    event = copy.deepcopy(several)
    del event["response"]["choices"][0]["message"]["tool_calls"][1]
    parsed = parse({**event, "split": "golden", "family": "f-1"}, "samples")
    assert parsed.predictions == ()
    assert [(s.text, s.intent, s.split, s.origin) for s in parsed.samples] == [
        ("叫我七点起床", "set_alarm", "golden", "person"),
    ]
    assert parsed.samples[0].family == "f-1"
    assert parsed.samples[0].provenance == {"prediction": "chatcmpl-1"}
    with pytest.raises(BadEvent, match="openai: `split` is missing"):
        parse(event, "samples")


def test_earlier_user_messages_are_put_before_the_last_one_when_asked_for():
    event = FIXTURES["openai"][0]["event"]
    texts = [parse(event, context_turns=n).predictions[0].text for n in (0, 1, 9)]
    assert texts == ["叫我七点起床", "hello\n叫我七点起床", "hello\n叫我七点起床"]


def test_an_unknown_intent_of_a_sample_is_refused_with_the_nearest_known():
    event = {"text": "叫我", "intent": "set_alarms", "split": "golden"}
    with pytest.raises(BadEvent, match="native: `intent` `set_alarms` is not known; `set_alarm`"):
        parse(event, known={name: Intent(name=name) for name in ("set_alarm", "play")})
    with pytest.raises(BadEvent, match="sft: `intent` `set_alarm` is not known"):
        parse(FIXTURES["sft"][0]["event"], known={"zzz": Intent(name="zzz")})
    play = {"play": Intent(name="play")}
    assert sample({**event, "intent": None}, known=play)[0].intent == "none"


@pytest.mark.parametrize("split", ["seed", "dev", "golden"])
def test_arguments_of_a_sample_that_do_not_fit_the_schema_are_refused(split):
    properties = {"volume": {"maximum": 5}, "at": {"type": "string"}}
    schema = {"properties": properties, "required": ["at"]}
    known = {"play": Intent(name="play", parameters=schema)}
    event = {"text": "louder", "intent": "play", "split": split}
    with pytest.raises(BadEvent) as caught:
        parse({**event, "arguments": {"volume": 99, "at": 7}}, "samples", known=known)
    assert (caught.value.field, caught.value.why) == (
        "arguments.at",
        'is not of type "string" (parameters of play, and 1 more that does not fit)',
    )
    with pytest.raises(BadEvent, match=r"is greater than the maximum of 5 \(parameters of play\)"):
        parse({**event, "arguments": {"volume": 99}}, "samples", known=known)
    with pytest.raises(BadEvent, match=r"`arguments` must be empty: `none` takes none"):
        parse({**event, "intent": "none", "arguments": {"at": "7"}}, "samples", known=known)
    (kept,) = parse({**event, "arguments": {"volume": 5}}, "samples", known=known).samples
    assert kept.arguments == {"volume": 5}


def test_a_sample_is_named_by_its_content_and_carries_what_it_came_with():
    event = {"text": "叫我", "intent": "play", "split": "train", "origin": "teacher",
             "weight": 0.5, "provenance": {"brief": "b-1"}}  # fmt: skip
    made, answer = sample(event)
    assert answer is None
    assert made.id == formats.native.sample_id("叫我", "play", None, "teacher", "train")
    assert (made.weight, made.provenance) == (0.5, {"brief": "b-1"})
    with pytest.raises(BadEvent, match="`weight` is negative"):
        sample({**event, "weight": -1})


def test_one_bad_record_of_an_envelope_spoils_no_other():
    event = copy.deepcopy(FIXTURES["otel"][4]["event"])
    spans = event["resourceSpans"][0]["scopeSpans"][0]["spans"]
    broken = {**copy.deepcopy(spans[0]), "spanId": None, "events": []}
    spans.insert(0, broken)
    parsed = parse(event)
    assert [p.id for p in parsed.predictions] == ["eee19b7ec3c1b174"]
    (rejected,) = parsed.rejected
    assert (rejected.line, rejected.field) == (0, "gen_ai.response.id")
    raw = json.loads(rejected.raw)
    assert {key: raw[key] for key in broken} == broken
    assert parse({**raw, "spanId": "0a"}).predictions[0].id == "0a"  # mended, it is read by itself
    read = formats.read_lines(None, [b"", json.dumps(event).encode()])
    assert [bad.line for bad in read.rejected] == [2]


jsonlike = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["user", "assistant", "[1]", '{"name":"x"}', "none", "GENERATION", "chat"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "parts", "type", "name", "function", "arguments"])
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=25)
@given(data=st.data())
def test_no_change_of_an_event_raises_anything_but_its_own_error(name, data):
    event = data.draw(st.sampled_from([row["event"] for row in FIXTURES[name]]))
    mangled = copy.deepcopy(event)
    for _ in range(data.draw(st.integers(1, 3))):
        _mangle(mangled, data)
    kind = data.draw(st.sampled_from([None, "predictions", "feedback", "samples"]))
    for chosen_format in (name, "auto"):
        try:
            parsed = parse(mangled, kind, chosen_format, received=RECEIVED)
        except BadEvent:
            pass
        else:
            kept = parsed.predictions or parsed.scores or parsed.feedback or parsed.samples
            assert kept or parsed.skipped or parsed.rejected
            for item in (*parsed.predictions, *parsed.feedback):
                assert item.ts.tzinfo is not None
                json.dumps(item.arguments, allow_nan=False, ensure_ascii=False).encode()


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=15)
@given(event=st.dictionaries(st.text(max_size=6), jsonlike, max_size=5))
def test_no_object_at_all_raises_anything_but_its_own_error(event, name):
    for chosen in (name, "auto"):
        with contextlib.suppress(BadEvent):
            parse(event, None, chosen, received=RECEIVED)


def test_an_event_nested_without_end_is_refused():
    value = []
    for _ in range(5_000):
        value = [value]
    event = {**FIXTURES["langfuse"][7]["event"], "expectedOutput": value}
    with pytest.raises(BadEvent, match="nested too deeply"):
        parse(event)
    deep = {}
    for _ in range(100):
        deep = {"a": deep}
    with pytest.raises(BadEvent, match="nested too deeply"):
        parse({**FIXTURES["native"][0]["event"], "arguments": deep})


def _mangle(event, data):
    """Replace or delete one value somewhere in the event."""
    holder = event
    while True:
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        if isinstance(holder[key], (dict, list)) and holder[key] and data.draw(st.booleans()):
            holder = holder[key]
            continue
        if data.draw(st.booleans()):
            holder[key] = data.draw(jsonlike)
        else:
            del holder[key]
        return
