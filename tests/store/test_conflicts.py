"""An id that comes again with other content: the first event stays, the other is not swallowed."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from flywheel.records import Feedback, Prediction
from flywheel.store import events, rejected

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SAID = Prediction(id="p-1", ts=NOON, text="wake me", intent="set_alarm", arguments={"time": "7"})
WORD = Feedback(id="f-1", prediction_id="p-1", ts=NOON, verdict="incorrect")
OTHER = {
    "text": replace(SAID, text="wake her"),
    "intent": replace(SAID, intent="set_timer"),
    "arguments": replace(SAID, arguments={"time": "8"}),
    "confidence": replace(SAID, confidence=0.4),
    "verdict": replace(WORD, verdict="correct"),
    "rater": replace(WORD, rater="u-7"),
}


def add(store, *batch):
    with store.write() as con:
        events.add_predictions(con, [each for each in batch if isinstance(each, Prediction)])
        events.add_feedback(con, [each for each in batch if isinstance(each, Feedback)])


def kept(store):
    with store.read() as con:
        return rejected.listed(con)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("other", OTHER.values(), ids=OTHER)
def test_the_first_stays_and_the_other_is_kept_as_rejected(store, other, together, caplog):
    for batch in [[SAID, WORD, other]] if together else [[SAID, WORD], [other]]:
        add(store, *batch)
    (bad,) = kept(store)
    assert (bad.field, bad.why) == (events.FIELD, events.WHY)
    raw = json.loads(bad.raw)
    assert raw["id"] == other.id
    if isinstance(other, Prediction):
        assert (raw["text"], raw["arguments"]) == (other.text, dict(other.arguments))
    with store.read() as con:
        assert events.id_conflicts(con) == 1
        (text,) = con.execute("SELECT text FROM predictions").fetchone()
        (verdict,) = con.execute("SELECT verdict FROM feedback").fetchone()
    assert (text, verdict) == (SAID.text, WORD.verdict)
    assert [line.getMessage() for line in caplog.records if line.levelname == "WARNING"] == [
        f"1 {bad.kind} came under the id of another event; the first one stays, see `rejected`"
    ]


def test_the_same_again_is_passed_over_in_silence(store, caplog):
    later = replace(SAID, ts=NOON + timedelta(hours=1))
    for batch in ([SAID, WORD], [SAID, WORD], [SAID, SAID, WORD, WORD], [later]):
        add(store, *batch)
    assert kept(store) == []
    assert caplog.records == []


def test_a_conflict_that_is_replayed_is_told_once(store, caplog):
    add(store, SAID)
    for _ in range(3):
        add(store, OTHER["text"])
    assert len(kept(store)) == 1
    assert len(caplog.records) == 1
