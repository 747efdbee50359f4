"""The diagnosis follows the model: what today's champion would answer, and has not learned."""

import json

import pytest
from runtimes import (
    ALARM,
    NOW,
    PLAY,
    TIMER,
    Parrot,
    produce_failures,
    runtime_in,
    seed_runtime,
    turn_once,
)

from flywheel.records import Feedback, Prediction, Refusal
from flywheel.store import (
    adapters,
    champion_answers,
    decisions,
    events,
    health,
    samples,
    turns,
)
from flywheel.turn.curate import from_feedback
from flywheel.turn.diagnose import intent_health


@pytest.fixture
def runtime(tmp_path):
    """With a first champion, which knows two of six words of each intent."""
    made = runtime_in(tmp_path, teacher=Parrot())
    seed_runtime(made)
    turn_once(made)
    yield made
    made.store.close()


def states(runtime):
    with runtime.store.read() as con:
        return {item.intent: item.state for item in intent_health(runtime, con, NOW)}


def step(runtime, turn_id, name="diagnose"):
    with runtime.store.read() as con:
        return next(each.detail for each in turns.steps(con, turn_id) if each.name == name)


def briefs(runtime, turn_id):
    with runtime.store.read() as con:
        return turns.get(con, turn_id).record.briefs


def test_what_a_turn_mended_is_not_failing_and_nothing_is_bought_for_it_again(runtime):
    produce_failures(runtime)
    assert states(runtime)[ALARM] == "failing"
    mending = turn_once(runtime)
    with runtime.store.read() as con:
        before = turns.get(con, mending).record.champion
        assert adapters.champion(con) != before  # promoted
    assert f"72 labelled texts answered anew by {before}" in step(runtime, mending)
    assert {brief.rated for brief in briefs(runtime, mending)} >= {ALARM, TIMER, PLAY}
    again = turn_once(runtime)
    assert states(runtime) == {
        "none": "unknown",
        ALARM: "unknown",
        TIMER: "unknown",
        PLAY: "unknown",
    }
    assert briefs(runtime, again) == ()
    assert step(runtime, again).startswith("0 of ")


def test_what_a_champion_before_answered_wrongly_is_asked_of_todays(runtime):
    """A text of two words that the champion knows; another adapter had it wrong."""
    with runtime.store.write() as con:
        first = adapters.champion(con)
        for n in range(20):
            text = f"plain words of {n}"
            made = Prediction(id=f"p-{n}", ts=NOW, text=text, intent=ALARM, adapter="elsewhere")
            said = Feedback(
                id=f"f-{n}", prediction_id=f"p-{n}", ts=NOW, verdict="corrected", intent="none"
            )
            events.add_predictions(con, [made])
            events.add_feedback(con, [said])
    assert states(runtime)[ALARM] == "failing"  # nobody knows who answered: it counts as given
    turn_once(runtime)
    with runtime.store.read() as con:
        assert adapters.champion(con) == first
        assert champion_answers.to_answer(con, first, NOW, 99) == []
    assert states(runtime)[ALARM] == "unknown"  # today's champion calls nothing, as it should


def test_a_label_that_curation_refused_says_nothing_of_the_champion_trained_without_it(runtime):
    """Its text is unlearned for that reason alone; the label of another word still counts."""
    produce_failures(runtime)
    with runtime.store.write() as con:
        first = adapters.champion(con)
        trained = decisions.list_decisions(con)[0].turn
        rows = [
            Prediction(id=f"p-{n}", ts=NOW, text=f"plain words of {n}", intent=ALARM)
            for n in range(2)
        ]
        said = [
            Feedback(id=f"f-{n}", prediction_id=f"p-{n}", ts=NOW, verdict="corrected", intent=TIMER)
            for n in range(2)
        ]
        events.add_predictions(con, rows)
        events.add_feedback(con, said)
        refused = [
            Refusal(sample=from_feedback(row), reason="label_noise")
            for row in health.labelled_texts(con, ())
            if row.prediction_id == "p-0"
        ]
        samples.add_refusals(con, trained, refused, NOW)
        assert champion_answers.refused_labels(con, first) == {("p-0", TIMER)}
    turn_once(runtime)
    with runtime.store.read() as con:
        silent = con.execute(
            "SELECT prediction_id FROM champion_answers WHERE adapter = ? AND learned", [first]
        ).fetchall()
    assert silent == [("p-0",)]


def test_a_champion_that_cannot_be_asked_stops_no_turn_and_is_told(runtime, monkeypatch):
    submit = type(runtime.executor).submit

    def broken(self, job, folder):
        if "-anew-" not in job.id:
            return submit(self, job, folder)
        result = {"id": job.id, "ok": False, "values": {}, "error": "no memory", "seconds": 0.1}
        (folder / "result.json").write_text(json.dumps(result))
        return job.id

    monkeypatch.setattr(type(runtime.executor), "submit", broken)
    produce_failures(runtime)
    turn = turn_once(runtime)
    assert "could not be asked anew: predict job" in step(runtime, turn)
    assert {brief.rated for brief in briefs(runtime, turn)} >= {ALARM, TIMER, PLAY}
