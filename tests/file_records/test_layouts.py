"""Records of a JSON file: one law for every layout, and no neighbour spoilt by a bad one."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.file_records.layouts import records

ROWS = [{"id": f"p-{n}", "text": 'say {"[}\\ 音', "slices": {"a": "b"}} for n in range(4)]
LINES = [json.dumps(row, ensure_ascii=False).encode() for row in ROWS]


def read(data, **options):
    return list(records(io.BytesIO(data), **options))


def values(data, **options):
    return [json.loads(record.raw) for record in read(data, **options)]


def raws(data, **options):
    return [record.raw for record in read(data, **options)]


def dumped(value, **options):
    return json.dumps(value, ensure_ascii=False, **options).encode()


HITS = [{"_index": "x", "_id": str(n), "_source": row} for n, row in enumerate(ROWS)]
LAYOUTS = {
    "a line each": b"\n".join(LINES),
    "a line each, with blank ones": b"\n\n" + b"\r\n\r\n".join(LINES),
    "lines that end in a comma": b",\n".join(LINES),
    "a mark on every line": b"\n".join(b"\xef\xbb\xbf" + line for line in LINES),
    "a text sequence": b"".join(b"\x1e" + line + b"\n" for line in LINES),
    "nothing between": b"".join(LINES),
    "a list on one line": dumped(ROWS),
    "a list on several lines": b"\xef\xbb\xbf" + dumped(ROWS, indent=2),
    "a list, one element a line": b"[\n" + b",\n".join(LINES) + b"\n]\n",
    "lists, one a line": dumped(ROWS[:2]) + b"\n" + dumped(ROWS[2:]),
    "objects over several lines": b"\n".join(dumped(row, indent=2) for row in ROWS),
    "lines, then an object over several": b"\n".join(LINES[:3]) + b"\n" + dumped(ROWS[3], indent=1),
    "a wrapper whose records are lines": b'{"data":[\n' + b",\n".join(LINES) + b'\n],\n"x":1}',
    "lines, then such a wrapper": LINES[0] + b'\n{"data":[\n' + b",\n".join(LINES[1:]) + b"\n]}",
    "data": dumped({"object": "list", "data": ROWS, "has_more": False}),
    "inferences": dumped({"next": None, "inferences": ROWS}, indent=4),
    "pages, one a line": dumped({"data": ROWS[:2]}) + b"\n" + dumped({"data": ROWS[2:]}),
    "a list of pages": dumped([{"data": ROWS[:2]}, {"data": ROWS[2:]}]),
    "hits of a search": dumped({"took": 1, "hits": {"total": {"value": 4}, "hits": HITS}}),
    "a dump of hits": b"\n".join(map(dumped, HITS)),
    "UTF-16": dumped(ROWS).decode().encode("utf-16"),
    "UTF-16 without a mark": b"\n".join(LINES).decode().encode("utf-16-le"),
    "UTF-32": dumped(ROWS).decode().encode("utf-32"),
}


@pytest.mark.parametrize("data", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_holds_the_same_records(data):
    assert values(data) == ROWS


@pytest.mark.parametrize("data", LAYOUTS.values(), ids=LAYOUTS)
def test_pieces_may_end_anywhere(data):
    class Slow(io.BytesIO):
        def read1(self, size=-1):
            return self.read(min(size, 7))

    assert [json.loads(record.raw) for record in records(Slow(data))] == ROWS


plain_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
objects = st.lists(st.fixed_dictionaries({"id": st.text(), "x": plain_json}), min_size=1)


@given(objects, st.sampled_from([None, 0, 2]), st.booleans())
def test_a_list_and_its_elements_are_the_same_records(rows, indent, ascii_only):
    listed = json.dumps(rows, indent=indent, ensure_ascii=ascii_only).encode()
    assert values(listed) == rows
    wrapped = json.dumps({"total": 1, "results": rows}, indent=indent).encode()
    assert values(wrapped) == rows


@given(st.binary(max_size=300))
def test_any_bytes_end_without_an_error(data):
    read(data)
    read(b"[" + data)
    read(b'{"a": 1}\n' + data)


@given(st.text(alphabet='{}[]",:\\\n ab1', max_size=200))
def test_broken_json_loses_no_record_behind_its_line(text):
    good = b'{"id": "good"}'
    assert good in raws(b'{"a": 1}\n' + text.replace("\n", " ").encode() + b"\n" + good)


def test_a_line_of_records_is_named_and_so_is_the_place_in_it():
    pretty = dumped([{"id": 1}, {"id": 2}], indent=1)
    assert [(each.line, each.position) for each in read(pretty)] == [(2, 1), (5, 2)]
    assert [(each.line, each.position) for each in read(b'\n{"a":1}\n{"b":2}')] == [
        (2, None),
        (3, None),
    ]


BROKEN = {
    "NaN in a list": (b'[{"a":1},{"b":NaN},{"c":3}]', [b'{"a":1}', b'{"b":NaN}', b'{"c":3}']),
    "a list that breaks off": (b'[{"a":1},{"b":2},{"c', [b'{"a":1}', b'{"b":2}', b'{"c']),
    "a wrapper that breaks off": (b'{"data":[{"a":1},{"b":', [b'{"a":1}', b'{"b":']),
    "a bracket is missing": (
        b'[\n{"a":1},\n{"b":{"x":2},\n{"c":3},\n{"d":4}\n]',
        [b'{"a":1}', b'{"b":{"x":2}', b'{"c":3}', b'{"d":4}'],
    ),
    "a quote is missing": (
        b'[\n  {\n    "a": x{"\n  },\n  {\n    "b": 2\n  }\n]',
        [b'{\n    "a": x{"\n  }', b'{\n    "b": 2\n  }'],
    ),
    "a line is cut at a comma": (b'{"a":1,\n{"b":2}\n{"c":3}', [b'{"a":1', b'{"b":2}', b'{"c":3}']),
    "the first line is cut": (b'{"a":"x\n{"b":2}\n{"c":3}', [b'{"a":"x', b'{"b":2}', b'{"c":3}']),
    "a broken line before JSON in a text": (
        b'{"a":1}, {\n{"b":[2\n\xef\xbb\xbf"{\\"c\\": 3}"\n{"d":4}',
        [b'{"a":1}', b"{", b'{"b":[2', b'"{\\"c\\": 3}"', b'{"d":4}'],
    ),
    "values that are none": (b'["a",1,{"b":2}]', [b'"a"', b"1", b'{"b":2}']),
    "a log's lines": (b'[2026-11-30] {"a":1}\n{"b":2}', [b'[2026-11-30] {"a":1}', b'{"b":2}']),
    "words": (b"hello\nworld", [b"hello", b"world"]),
    "a deep one": (b"[" * 9_000 + b"\n" + b'{"a":1}', [b"[" * 8_999, b'{"a":1}']),
}  # fmt: skip


@pytest.mark.parametrize(("data", "expected"), BROKEN.values(), ids=BROKEN)
def test_a_bad_record_spoils_no_other(data, expected):
    assert raws(data) == expected


RECORDS = [
    {"sender_id": "u", "events": [{"event": "user", "text": "hi"}]},
    {"id": "t-1", "observations": [{"type": "GENERATION"}], "scores": []},
    {"trace_id": "t", "spans": [{"name": "chat"}]},
    {"info": {"trace_id": "t"}, "data": {"spans": [{}]}},
    {"text": "hi", "data": [{"a": 1}], "intent": "greet"},
    {"data": [[1, 2]]},
    {"data": [{"a": 1}], "results": [{"b": 2}]},
]


@pytest.mark.parametrize("row", RECORDS)
def test_a_record_with_lists_of_its_own_is_one_record(row):
    assert values(dumped(row)) == [row]


def test_actions_of_a_bulk_file_are_skipped_and_updates_are_their_documents():
    lines = [b'{"index":{"_index":"x","_id":"1"}}', LINES[0], b'{"update":{"_id":"2"}}']
    found = read(b"\n".join([*lines, b'{"doc":' + LINES[1] + b',"doc_as_upsert":true}']))
    assert [bool(each.skipped) for each in found] == [True, False, True, False]
    assert [each.raw for each in found if not each.skipped] == LINES[:2]
    assert [each.skipped for each in read(b'{"data": []}')] == ["is an empty list"]


def test_a_native_event_without_an_id_takes_its_documents():
    assert values(b'{"_id":"h-1","_source":{"text":"hi"}}') == [{"id": "h-1", "text": "hi"}]
    assert values(b'{"_id":"h-1","_source":{"request":{}}}') == [{"request": {}}]


def test_values_of_mongodb_are_plain_ones():
    row = {
        "_id": {"$oid": "65a"},
        "text": "hi",
        "ts": {"$date": "2026-11-30T10:00:00Z"},
        "old": {"$date": {"$numberLong": "1764000000000"}},
        "n": [{"$numberInt": "5"}, {"$numberDouble": "NaN"}, {"$numberDecimal": "0.5"}],
    }
    assert values(dumped([row])) == [
        {
            "id": "65a",
            "text": "hi",
            "ts": "2026-11-30T10:00:00Z",
            "old": "2025-11-24T16:00:00+00:00",
            "n": [5, None, 0.5],
        }
    ]


def test_a_record_that_is_too_long_is_named_and_the_next_is_read():
    for data in (b'[{"a":"%s"},{"b":1}]', b'{"a":"%s"}\n{"b":1}', b'{"x":0}\n{"a":"%s"}\n{"b":1}'):
        found = read(data % (b"x" * 200_000), longest=100_000)
        assert [each.why for each in found if each.why] == ["longer than 100,000 bytes"]
        assert found[-1].raw == b'{"b":1}'


def test_a_wrapper_may_be_longer_than_memory_holds():
    rows = [{"id": n, "text": "x" * 100} for n in range(3_000)]
    around = {
        "took": 1,
        "hits": {"total": 3, "hits": [{"_source": row} for row in rows]},
        "x": [{}],
    }
    assert values(dumped(around) + dumped({"id": "behind"}), longest=50_000) == [
        *rows,
        {"id": "behind"},
    ]


def test_a_large_envelope_is_cut_by_trace_and_keeps_what_is_around_its_spans():
    spans = [{"traceId": f"t{n % 200}", "spanId": str(n), "name": "x" * 200} for n in range(1_000)]
    resource = {"attributes": [{"key": "service.name"}]}
    scope = {"scope": {"name": "s"}, "spans": spans}
    one = {"resource": resource, "scopeSpans": [scope]}
    parts = [{"resource": resource, "scopeSpans": [{**scope, "spans": [span]}]} for span in spans]
    for envelope, longest in (([one], 8_000_000), (parts, 60_000)):
        envelope = dumped({"resourceSpans": envelope}, indent=1)
        found = values(envelope, longest=longest)
        assert all(each["resourceSpans"][0]["resource"] == resource for each in found)
        read_spans = [
            span
            for each in found
            for part in each["resourceSpans"]
            for inner in part["scopeSpans"]
            for span in inner["spans"]
        ]
        assert sorted(map(str, read_spans)) == sorted(map(str, spans))
        if longest == 8_000_000:
            assert len(found) == 200


def test_an_envelope_whose_spans_are_lines_stays_one():
    envelope = (
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[\n{"traceId":"a"},\n{"traceId":"b"}\n]}]}]}'
    )
    assert values(envelope) == [json.loads(envelope)]


def test_a_small_envelope_stays_one():
    envelope = {
        "resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "a"}, {"traceId": "b"}]}]}]
    }
    assert values(dumped(envelope)) == [envelope]


def test_a_line_that_is_not_in_the_named_encoding_keeps_its_bytes():
    good, bad = '{"t":"é"}'.encode("cp1252"), b'{"t":"\x81\xe9"}'
    assert raws(good + b"\n" + bad, encoding="cp1252") == ['{"t":"é"}'.encode(), bad]
    assert raws(good, encoding="") == [good]
