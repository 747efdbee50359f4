"""Whatever is sent to the doors of ingest, the answer is never a defect of the daemon."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

FIXTURES = Path(__file__).parents[1] / "formats" / "fixtures"
EVENTS = [
    row["event"]
    for path in sorted(FIXTURES.glob("*.json"))
    for row in json.loads(path.read_text(encoding="utf-8"))
]
ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from(["", " ", "\ud800", "nul\0", "{}", "[]", "1e999", "9" * 40, "🌅" * 50]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


def places(value, path=()):
    """Every path into an event."""
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def changed(value, path, put):
    if not path:
        return put
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(copy[path[0]], path[1:], put)
    return copy


@st.composite
def mutated(draw):
    event = draw(st.sampled_from(EVENTS))
    for _ in range(draw(st.integers(1, 3))):
        event = changed(event, draw(st.sampled_from(list(places(event)))), draw(ODD))
    return event


@pytest.mark.parametrize("route", ["predictions", "feedback", "samples", "traces"])
@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(event=mutated())
def test_an_event_with_anything_in_any_place_breaks_nothing(client, route, event):
    reply = client.post(f"/v1/{route}", content=json.dumps(event).encode())
    assert reply.status_code in (200, 400, 422), reply.text


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    route=st.sampled_from(["predictions", "feedback", "samples", "traces", "turns", "erase"]),
    body=st.binary(max_size=60),
    kind=st.sampled_from(["application/json", "application/x-ndjson", "application/x-protobuf"]),
)
def test_noise_breaks_nothing(client, route, body, kind):
    reply = client.post(f"/v1/{route}", content=body, headers={"content-type": kind})
    assert reply.status_code < 500, reply.text
