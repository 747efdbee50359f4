"""After an erasure a turn learns anew, though nothing is new."""

from runtimes import ALARM, NOW, Parrot, runtime_in, turn_once

from flywheel.records import Prediction
from flywheel.store import events, turns
from flywheel.store.erasure import Person
from flywheel.turn.erase import erase


def test_a_turn_after_an_erasure_begins_with_curation_and_trains_though_nothing_is_new(
    after_a_turn, tmp_path
):
    after_a_turn(tmp_path)
    runtime = runtime_in(tmp_path, teacher=Parrot())
    with runtime.store.write() as con:
        said = Prediction(id="u-1", ts=NOW, text="nur ich sage das", intent=ALARM, rater="anna")
        events.add_predictions(con, [said])
    assert erase(runtime, Person(rater="anna"), "admin")["left"] == {}
    again = turn_once(runtime, turns.ERASURE)
    with runtime.store.read() as con:
        names = [step.name for step in turns.steps(con, again)]
        detail = turns.steps(con, again)[0].detail
    runtime.store.close()
    assert names[:2] == ["curate", "train"]
    assert "too little is new" not in detail
