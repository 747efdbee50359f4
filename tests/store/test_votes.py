"""What each rater said, where several rated one prediction."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flywheel.records import Feedback, Prediction
from flywheel.store import events, health
from flywheel.store.label_candidates import vote_counts, votes

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def feedback(number, rater, verdict="corrected", intent=None):
    return Feedback(
        id=f"f-{number}",
        prediction_id="p-1",
        ts=NOW + timedelta(minutes=number),
        verdict=verdict,
        intent=intent,
        rater=rater,
    )


def test_each_rater_has_the_last_word_of_their_own(store):
    with store.write() as con:
        events.add_predictions(con, [Prediction(id="p-1", ts=NOW, text="放首歌", intent="play")])
        events.add_feedback(
            con,
            [
                feedback(1, "u-1", "correct"),
                feedback(2, "u-2", intent="stop"),
                feedback(3, "u-3", "incorrect"),
                feedback(4, "u-2", intent="pause"),
                feedback(5, "", intent="stop"),
                feedback(6, "", intent="none"),
            ],
        )
    with store.read() as con:
        said = [(row.rater, row.intent) for row in votes(con, ())]
        assert said == [("", "none"), ("u-2", "pause"), ("u-1", "play")]
        assert [row.intent for row in health.labelled_texts(con, ())] == ["none"]
        assert vote_counts(con) == {"none": 1, "pause": 1, "play": 1}
