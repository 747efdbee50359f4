"""/metrics counts what was not taken, by kind and reason, without a word of its sender."""

import pytest
from wire_events import ndjson, prediction

from flywheel.web.request_metrics import reason_class


@pytest.mark.parametrize(
    ("why", "reason"),
    [
        ("`Set Alarm` is 1.2, not in 0..1; `set_alarm`?", "is, not in"),
        ("is not JSON: not UTF-8: byte 0xff at 0", "is not JSON"),
        ("is not UTF-8: byte 0xe9 at 56; name its encoding", "is not UTF-8"),
        ("is in the future: 9999-12-31", "is in the future"),
        ("`x`", "other"),
    ],
)
def test_a_reason_has_no_value_of_its_line(why, reason):
    assert reason_class(why) == reason


def test_lines_that_were_not_taken_are_counted_by_reason_and_few_reasons_are_kept(client):
    event = {"sender_id": "u", "event": "action", "timestamp": 1763629200.0, "name": "listen"}
    bad = {**prediction(2), "ts": "2999-01-01T00:00:00Z"}
    client.post("/v1/predictions", content=ndjson(prediction(1), bad, bad, event))
    page = client.get("/metrics").text
    assert (
        'flywheel_lines_not_taken_total{format="native",kind="predictions",outcome="rejected",'
        'reason="is in the future"} 2.0'
    ) in page
    assert 'outcome="skipped"' in page
    assert "flywheel_rejected_lines 1.0" in page
    assert "flywheel_sources_stuck 0.0" in page
