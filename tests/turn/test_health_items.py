"""A person is asked where the diagnosis is in doubt, by lot within the intent."""

import pytest
from runtimes import ALARM, NOW, PLAY, TIMER, runtime_in, seed_runtime, turn_once

from flywheel.config import LabellingTable
from flywheel.errors import NotFound
from flywheel.label_queue import LabelAnswer, asked, give, settle
from flywheel.records import Feedback, Prediction
from flywheel.store import adapters, events
from tests.fakes import json_views as views

ANN = "ann (uid 1)"


@pytest.fixture
def runtime(tmp_path):
    """A champion, its answers, and complaints about one intent of three."""
    table = LabellingTable(first=0, health=6, audit=0.0, uncertain=0.0, second_opinion=0.0)
    made = runtime_in(tmp_path, labelling=table)
    seed_runtime(made)
    turn_once(made)
    with made.store.write() as con:
        champion = adapters.champion(con)
        for intent in (ALARM, TIMER, PLAY):
            rows = [
                Prediction(
                    id=f"{intent}-{n}",
                    ts=NOW,
                    text=f"{intent} {n} asked quite otherwise",
                    intent=intent,
                    adapter=champion,
                )
                for n in range(60)
            ]
            events.add_predictions(con, rows)
        said = [
            Feedback(id=f"f-{n}", prediction_id=f"{ALARM}-{n}", ts=NOW, verdict="incorrect")
            for n in range(12)
        ]
        events.add_feedback(con, said)
    yield made
    made.store.close()


def items(runtime):
    return [item for item in asked(runtime, ANN)[1] if item.kind == "health"]


def row(runtime, intent):
    return next(line for line in views.intents(runtime) if line["intent"] == intent)


def of(item):
    return item.prediction.rsplit("-", 1)[0]


def test_the_doubtful_intent_is_asked_first_until_it_is_shown_to_fail(runtime):
    assert row(runtime, ALARM)["state"] == "suspect"
    assert row(runtime, ALARM)["audit_wanted"] > 0
    first = items(runtime)
    assert len(first) == 6
    assert sum(of(item) == ALARM for item in first) >= 2
    assert all(item.guesses == () for item in first)
    for _ in range(8):
        for item in items(runtime):
            truth = TIMER if of(item) == ALARM else of(item)
            give(runtime, ANN, LabelAnswer(item=item.id, intent=truth))
    shown = row(runtime, ALARM)
    assert shown["state"] == "failing"
    assert "audit" in shown["shown_by"]
    assert shown["audit_wanted"] == 0
    assert row(runtime, PLAY)["state"] == "healthy"
    assert ALARM not in {of(item) for item in items(runtime)}
    settle(runtime)
    assert row(runtime, ALARM)["audit"] == shown["audit"]  # as feedback it counts once


def test_only_what_was_drawn_is_taken_and_none_where_nobody_is_asked(runtime, tmp_path):
    with pytest.raises(NotFound):
        give(runtime, ANN, LabelAnswer(item=f"health:{ALARM}-0", intent=ALARM))  # it has feedback
    (tmp_path / "b").mkdir()
    without = runtime_in(tmp_path / "b")
    assert [item for item in asked(without, ANN)[1] if item.kind == "health"] == []
    without.store.close()
