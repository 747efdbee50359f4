"""Many events at once: the good ones are kept, the bad ones listed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.formats import parse, read_body, read_lines
from flywheel.records import Intent

RECEIVED = datetime(2026, 11, 25, 13, 0, tzinfo=UTC)
EVENTS = [
    row["event"]
    for path in sorted((Path(__file__).parent / "fixtures").glob("*.json"))
    for row in json.loads(path.read_text(encoding="utf-8"))
]
GOOD = {"id": "p-1", "ts": "2026-11-22T05:17:00Z", "text": "叫我", "intent": "set_alarm"}


def line(event):
    return json.dumps(event, ensure_ascii=False).encode()


def test_bad_lines_are_listed_with_number_field_and_reason_and_spoil_no_other():
    lines = [
        b"\xef\xbb\xbf" + line(GOOD) + b"\r\n",
        b"\n",
        b"{not json",
        line({**GOOD, "id": "p-2", "ts": "soon"}),
        b"[1]",
        b"\xff\xfe",
        line({**GOOD, "id": "p-3"}),
    ]
    read = read_lines("predictions", lines)
    assert [p.id for p in read.predictions] == ["p-1", "p-3"]
    assert [(r.line, r.format, r.field, r.why) for r in read.rejected] == [
        (3, "auto", "", "is not JSON: object keys must be strings (byte 1)"),
        (4, "native", "ts", "is not a time"),
        (5, "auto", "", "is not an object"),
        (
            6,
            "auto",
            "",
            "is not JSON: not UTF-8: byte 0xff at 0; name its encoding, as in "
            "`flywheel rejected retry --encoding cp1252`",
        ),
    ]
    assert read.rejected[1].raw == lines[3].decode()


def test_a_line_above_the_limit_is_rejected_and_only_its_beginning_is_kept():
    long = line({**GOOD, "text": "长" * 2_000})
    read = read_lines("predictions", [long, line(GOOD)], max_line_bytes=3_000)
    assert len(read.predictions) == 1
    (rejected,) = read.rejected
    assert rejected.why == f"is {len(long)} bytes long, above 3000"
    assert len(rejected.raw.encode()) <= 1_003


@given(st.lists(st.sampled_from(EVENTS), max_size=8))
def test_a_stream_says_what_its_events_say(events):
    read = read_lines(None, [line(event) for event in events], received=RECEIVED)
    single = [parse(event, received=RECEIVED) for event in events]
    assert read.rejected == ()
    assert read.predictions == tuple(p for one in single for p in one.predictions)
    assert read.feedback == tuple(f for one in single for f in one.feedback)
    assert read.samples == tuple(s for one in single for s in one.samples)
    assert sum(read.skipped.values()) == sum(sum(one.skipped.values()) for one in single)


@settings(max_examples=30)
@given(st.permutations(EVENTS), st.lists(st.sampled_from(EVENTS), max_size=9))
def test_order_and_repeats_of_a_stream_change_no_record(shuffled, repeated):
    def content(events):
        read = read_lines(None, [line(event) for event in events], received=RECEIVED)
        return {repr(each) for each in (*read.predictions, *read.feedback, *read.labelled)}

    assert content([*shuffled, *repeated]) == content(EVENTS)


def test_one_id_stands_for_one_record():
    read = read_lines(None, [line(event) for event in EVENTS], received=RECEIVED)
    for rows in (read.predictions, read.feedback, read.samples):
        assert len({row.id for row in rows}) == len(rows)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_rejected(body):
    read = read_body("predictions", body)
    assert all(rejected.why for rejected in read.rejected)


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(GOOD, indent=2).encode(),
        line(GOOD) + b"\n",
        b"\n" + line(GOOD) + b"\n\n",
        line([GOOD]),
        b"\xef\xbb\xbf" + line(GOOD),
    ],
)
def test_a_body_may_be_an_object_a_list_or_a_line_each(body):
    assert [p.id for p in read_body("predictions", body).predictions] == ["p-1"]


def test_samples_come_with_what_the_production_model_answered():
    rows = [
        {"text": "叫我", "intent": "set_alarm", "split": "golden", "answer": "set_timer"},
        {"text": "放歌", "intent": "play_music", "split": "golden"},
    ]
    known = {name: Intent(name=name) for name in ("set_alarm", "play_music")}
    read = read_lines("samples", map(line, rows), known)
    assert [(s.text, answer) for s, answer in read.labelled] == [
        ("叫我", ("set_timer", None)),
        ("放歌", None),
    ]
    assert (read.predictions, read.feedback) == ((), ())


def test_messages_and_calls_may_be_json_text_as_a_table_keeps_them():
    messages = [{"role": "user", "content": "叫我"}]
    calls = [{"intent": "set_alarm", "arguments": {"time": "6"}}, {"intent": "stop"}]
    whole = {"id": "p", "ts": "2026-11-20T09:00:00Z", "messages": messages, "calls": calls}
    cells = {**whole, "messages": json.dumps(messages), "calls": json.dumps(calls)}
    read = [read_lines("predictions", [line(event)], received=RECEIVED) for event in (whole, cells)]
    assert read[0].predictions == read[1].predictions
    assert [call.intent for call in read[1].predictions[0].calls] == ["set_alarm", "stop"]
