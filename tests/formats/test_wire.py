"""The quick way and the long way are one rule: they agree on what is valid and what it says."""

import json
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel import formats
from flywheel.formats import rows_of, spool_lines

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)

GOOD_TEXTS = st.sampled_from(["x", "我要听音乐", "a\nb", "nul\0", "🌅", " padded "])
TEXTS = GOOD_TEXTS | st.sampled_from(["", " ", "\u2003", "x"])
GOOD_TIMES = st.sampled_from(["2026-11-22T05:17:00Z", "2026-11-22T05:17:00.123456789Z"])
TIMES = st.sampled_from(
    [
        "2026-11-22T05:17:00Z",
        "2026-11-22T05:17:00.123456789Z",
        "2026-11-22 05:17:00+01:00",
        "2026-11-22T05:17:00-00:00",
        "2026-11-22T05:17:00",
        "0001-01-01T00:00:00+05:00",
        "0001-01-01T00:00:00Z",
        "2026-W47-7T05:17:00Z",
        "2026-02-30T05:17:00Z",
        "9999-12-31T23:59:59.9999999Z",
        "1700000000",
        1700000000,
        1.7e12,
        "soon",
    ]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=5,
)
ANY = VALUES | TEXTS | TIMES


def maybe(known):
    """Mostly what belongs there, at times anything."""
    return st.integers(0, 19).flatmap(lambda chance: known if chance else ANY)


PREDICTIONS = st.fixed_dictionaries(
    {"id": maybe(GOOD_TEXTS), "ts": GOOD_TIMES | TIMES, "text": maybe(GOOD_TEXTS)},
    optional={
        "intent": maybe(st.none() | TEXTS),
        "arguments": maybe(st.none() | st.dictionaries(TEXTS, VALUES, max_size=3)),
        "confidence": maybe(st.none() | st.floats(-0.5, 1.5) | st.integers(-1, 2)),
        "adapter": maybe(st.none() | TEXTS),
        "latency_ms": maybe(st.none() | st.floats(0, 9)),
        "cost_usd": maybe(st.none() | st.floats(0, 9) | st.integers(0, 2)),
        "answers": maybe(st.none() | st.integers(1, 9) | st.just(2.0)),
        "slices": maybe(st.none() | st.dictionaries(TEXTS, TEXTS, max_size=2)),
        "messages": st.none() | st.just([{"role": "user", "content": "hi"}]),
        "kind": maybe(st.just("predictions")),
        "verdict": ANY,
        "prediction_id": ANY,
        "extra": ANY,
    },
)
VERDICTS = st.fixed_dictionaries(
    {
        "id": maybe(GOOD_TEXTS),
        "prediction_id": maybe(GOOD_TEXTS),
        "ts": maybe(GOOD_TIMES),
        "verdict": maybe(st.sampled_from(["correct", "incorrect", "corrected"])),
    },
    optional={
        "intent": maybe(st.none() | TEXTS),
        "arguments": maybe(st.none() | st.dictionaries(TEXTS, VALUES, max_size=3)),
        "rater": maybe(st.none() | TEXTS),
        "rater_kind": maybe(st.none() | st.sampled_from(["user", "expert", "robot"])),
        "text": ANY,
    },
)


def rows(lines):
    """What the tables would hold."""
    return kept(msgspec.json.Encoder().encode_lines(lines))


def kept(spooled):
    """The events among lines of the spool, as the tables would hold them."""
    found, damaged = rows_of(spooled)
    assert damaged == []
    return [
        formats.record_of(row) for row in found if not isinstance(row, spool_lines.RejectedEntry)
    ]


@settings(max_examples=300)
@given(st.sampled_from(["predictions", "feedback"]), PREDICTIONS | VERDICTS)
def test_what_the_quick_way_takes_the_long_way_takes_alike(kind, event):
    raw = json.dumps(event, ensure_ascii=False).encode()
    line = spool_lines.quick(kind, raw, NOON)
    if line is not None:
        parsed = formats.read_lines(kind, [raw], received=NOON)
        assert parsed.rejected == ()
        assert rows([line]) == rows(spool_lines.lines_of(parsed))


GLUE = st.sampled_from(["\n"] * 12 + ["\r\n", "\n\n", " ", "", ",\n", "\n{\n"])


@settings(max_examples=300)
@given(
    st.sampled_from(["predictions", "feedback"]),
    st.lists(st.tuples(PREDICTIONS | VERDICTS, GLUE), max_size=6),
    st.sampled_from([None, 150]),
    st.sampled_from([1, 1 << 16]),
)
def test_what_is_taken_many_at_once_is_taken_alike_one_by_one(kind, parts, limit, block):
    body = "".join(json.dumps(event) + glue for event, glue in parts).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool_lines, "_BLOCK", block)
        written = spool_lines.write_usual(kind, body, max_line_bytes=limit, received=NOON)
    if written is not None:
        raws = [raw for raw in body.split(b"\n") if raw]
        one_by_one = formats.read_lines(kind, raws, received=NOON, max_line_bytes=limit)
        assert one_by_one.rejected == ()
        assert kept(written.lines) == rows(spool_lines.lines_of(one_by_one))
        assert written.accepted + written.repeated == len(raws)


def test_a_batch_of_usual_events_is_taken_at_once_whatever_its_blocks(monkeypatch):
    body = "\n".join(json.dumps(GOOD | {"id": f"p-{n % 7}"}) for n in range(9)).encode()
    whole = spool_lines.write_usual("predictions", body, received=NOON)
    assert whole is not None
    assert (whole.accepted, whole.repeated) == (7, 2)
    monkeypatch.setattr(spool_lines, "_BLOCK", 200)
    assert spool_lines.write_usual("predictions", body + b"\n", received=NOON) == whole


@pytest.mark.parametrize("body", ['{"id":1}', "", "[]", '{"id":\n{}}'])
def test_anything_else_is_not_taken_at_once(body):
    good = json.dumps(GOOD)
    assert not spool_lines.write_usual(
        "predictions", f"{good}\n{body}\n{good}".encode(), received=NOON
    )
    assert not spool_lines.write_usual(
        "predictions", f"{good}{good}\n{good}".encode(), received=NOON
    )
    assert not spool_lines.write_usual("samples", good.encode(), received=NOON)


@settings(max_examples=100)
@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_noise_is_rejected_line_by_line_and_breaks_nothing(noise):
    written = formats.write_body("predictions", noise, received=NOON)
    told = formats.read_body("predictions", noise, received=NOON)
    assert [bad.line for bad in written.rejected] == [bad.line for bad in told.rejected]
    assert rows_of(written.lines)[1] == []


def test_a_blank_rater_takes_the_long_way_and_is_refused_there():
    said = {"id": "f", "prediction_id": "p", "ts": "2026-11-22T05:17:00Z", "verdict": "correct"}
    raw = json.dumps(said | {"rater": " "}).encode()
    assert spool_lines.quick("feedback", raw, NOON) is None
    assert formats.read_lines("feedback", [raw]).rejected[0].field == "rater"


GOOD = {"id": "p-1", "ts": "2026-11-22T05:17:00Z", "text": "x", "intent": "play_music"}


@pytest.mark.parametrize(
    "changes",
    [{}, {"arguments": {"time": "七点"}}, {"confidence": 1}, {"slices": {"channel": "voice"}}],
)
def test_usual_events_go_the_quick_way(changes):
    assert spool_lines.quick("predictions", json.dumps(GOOD | changes).encode(), NOON) is not None


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(GOOD),
        json.dumps(GOOD, indent=1),
        json.dumps([GOOD, GOOD | {"id": "p-2"}]),
        json.dumps([GOOD, 7], indent=1),
        "\ufeff" + json.dumps(GOOD) + "\n\n{bad\n" + json.dumps(GOOD | {"id": "p-3"}),
        "\n\n" + json.dumps(GOOD) + "\n[]",
        "[",
    ],
)
def test_any_layout_of_a_body_is_read_as_the_long_way_reads_it(body):
    written = formats.write_body("predictions", body.encode(), received=NOON)
    told = formats.read_body("predictions", body.encode(), received=NOON)
    assert kept(written.lines) == rows(spool_lines.lines_of(told))
    assert [(bad.line, bad.why) for bad in written.rejected] == [
        (bad.line, bad.why) for bad in told.rejected
    ]


def test_a_repeat_in_one_body_is_counted_and_a_foreign_form_is_taken():
    foreign = {
        "timestamp": 1_700_000_000,
        "request": {"messages": [{"role": "user", "content": "wake me"}]},
        "response": {
            "id": "r-1",
            "choices": [{"message": {"role": "assistant", "content": "No."}}],
        },
    }
    body = b"\n".join(json.dumps(one).encode() for one in (GOOD, GOOD, foreign))
    written = formats.write_body("predictions", body, received=NOON)
    assert (written.accepted, written.repeated, written.rejected) == (2, 1, ())
