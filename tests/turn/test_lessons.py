"""What a turn learns about the worth of samples: from labels on the adapter that learned them."""

from runtimes import ALARM, NOW, turn_once

from flywheel.records import Feedback, Prediction
from flywheel.store import decisions, events, turns
from flywheel.turn.diagnose import lessons


def answered_right(runtime, adapter, count=20):
    said = [
        Prediction(id=f"p-{i}", ts=NOW, text=f"wake {i}", intent=ALARM, adapter=adapter)
        for i in range(count)
    ]
    verdicts = [
        Feedback(id=f"v-{each.id}", prediction_id=each.id, ts=NOW, verdict="correct")
        for each in said
    ]
    with runtime.store.write() as con:
        events.add_predictions(con, said)
        events.add_feedback(con, verdicts)


def turn_over_failures(runtime):
    second = turn_once(runtime)
    with runtime.store.read() as con:
        return turns.get(con, second)


def learned_from(runtime):
    with runtime.store.read() as con:
        return {(each.failure, each.labels, each.rate_since) for each in lessons(runtime, con)}


def test_only_labels_on_the_adapter_that_learned_the_samples_teach_what_they_are_worth(learned):
    turn = turn_over_failures(learned)
    assert learned_from(learned) == set()  # all failures were the first champion's
    answered_right(learned, turn.record.challenger)
    assert learned_from(learned) == {("unseen_wording", 20, 0.0)}


def test_a_challenger_that_was_not_promoted_teaches_nothing(learned):
    turn = turn_over_failures(learned)
    answered_right(learned, turn.record.challenger)
    with learned.store.write() as con:
        decisions.set_status(con, turn.decision, "rejected", "uid 0", "it was a test", NOW)
    assert learned_from(learned) == set()
