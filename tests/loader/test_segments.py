"""What DuckDB reads from a segment is what Python reads, to the byte."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from flywheel import formats
from flywheel.store import open_store, schema, segments
from flywheel.store.spooled import load_one_by_one, load_whole

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
TEXTS = st.text(
    st.characters(codec="utf-8") | st.sampled_from('\0\x1f\x7f\u2028"\\/é🌅'), max_size=8
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
PREDICTIONS = st.fixed_dictionaries(
    {"id": TEXTS, "text": TEXTS, "intent": TEXTS},
    optional={
        "arguments": st.dictionaries(TEXTS, VALUES, max_size=3),
        "slices": st.dictionaries(TEXTS, TEXTS, max_size=2),
        "confidence": st.floats(0, 1),
        "latency_ms": st.floats(0, 1e300) | st.integers(0, 2**60),
        "adapter": TEXTS,
    },
)
VERDICTS = st.fixed_dictionaries(
    {"id": TEXTS, "prediction_id": TEXTS, "verdict": st.just("corrected"), "intent": TEXTS},
    optional={"arguments": st.dictionaries(TEXTS, VALUES, max_size=3), "rater": TEXTS},
)
MOMENTS = st.datetimes(datetime(2, 1, 1), datetime(9999, 12, 30)).map(
    lambda moment: moment.isoformat() + "Z"
)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A store for each way, and the folder of the spool."""
    folder = tmp_path_factory.mktemp("segments")
    (folder / "spool").mkdir()
    quick, slow = (open_store(folder / name) for name in ("quick.duckdb", "slow.duckdb"))
    yield quick, slow, folder / "spool"
    quick.close()
    slow.close()


@settings(
    max_examples=12,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@example(
    [{"id": "a", "text": "x", "intent": "i", "arguments": {"f": 1e16, "g": 1e-7, "s": "7.30\x01"}}],
    [],
    "0002-01-01T00:00:00Z",
)
@given(st.lists(PREDICTIONS, max_size=4), st.lists(VERDICTS, max_size=3), MOMENTS)
def test_a_segment_is_read_alike_by_duckdb_and_by_python(places, said, verdicts, at):
    quick, slow, folder = places
    lines = b""
    for kind, sent in (("predictions", said), ("feedback", verdicts)):
        body = b"\n".join(json.dumps(one | {"ts": at}).encode() for one in sent)
        lines += formats.write_body(kind, body, received=NOON).lines
    segment = folder / "000000000001.ndjson"
    segment.write_bytes(lines)
    with quick.read() as con:
        read = segments.read(con, [segment])
    assert read is not None
    rows, damaged = formats.rows_of(lines)
    assert (read.rows, damaged) == (len(rows), [])
    with quick.write() as one, slow.write() as other:
        for con in (one, other):
            for table in ("predictions", "feedback", "judged", "rejudged", "rejected"):
                con.execute(f"DELETE FROM {table}")
        load_whole(one, read)
        load_one_by_one(other, [segment])
        assert schema.fingerprints(one) == schema.fingerprints(other)


@pytest.mark.parametrize(
    "line",
    [
        b"{not json\n",
        b'{"kind":"predictions","id":"p"',
        b'{"kind":"predictions","id":3}\n',
        b'{"kind":"samples","id":"p"}\n',
        b'{"kind":"feedback","id":"f","ts":"2026-11-22T05:17:00Z"}\n',
        b"null\n",
        b"\xff\xfe\n",
    ],
)
def test_a_line_that_the_spool_did_not_write_is_left_to_python(places, line):
    quick, _, folder = places
    good = {"id": "p-1", "ts": "2026-11-22T05:17:00Z", "text": "x", "intent": "i"}
    written = formats.write_body("predictions", json.dumps(good).encode(), received=NOON)
    (folder / "000000000002.ndjson").write_bytes(written.lines + line)
    with quick.read() as con:
        assert segments.read(con, [folder / "000000000002.ndjson"]) is None
    (folder / "000000000002.ndjson").write_bytes(written.lines)
    with quick.read() as con:
        assert segments.read(con, [folder / "000000000002.ndjson"]).rows == 1
