"""What an intent is called is learned like a sample, and never where it would judge as well."""

from runtimes import ALARM, PLAY, TIMER, WORDS, runtime_in, sample, seed_runtime, turn_once

from flywheel.config import TrainingTable
from flywheel.store import turns
from flywheel.turn import add_samples
from flywheel.turn.artifacts import dataset_rows


def names_learned(runtime):
    name = turn_once(runtime)
    with runtime.store.read() as con:
        record = turns.get(con, name).record
    rows = dataset_rows(runtime.datasets_dir / f"{record.dataset}.parquet")
    return {row["text"]: row["intent"] for row in rows if row["origin"] == "name"}, record


def test_the_names_of_intents_are_learned_and_are_not_called_new_samples(tmp_path):
    runtime = runtime_in(tmp_path)
    seed_runtime(runtime)
    names, record = names_learned(runtime)
    assert names == {"放音乐": PLAY, "set alarm": ALARM, "set timer": TIMER}
    assert "name" not in record.by_origin
    runtime.store.close()


def test_a_name_that_is_near_a_golden_example_is_not_learned(tmp_path):
    runtime = runtime_in(tmp_path)
    seed_runtime(runtime)
    add_samples(runtime, [sample("Set alarm!", ALARM, "golden")], by="ana")
    names, _ = names_learned(runtime)
    assert names == {"放音乐": PLAY, "set timer": TIMER}
    runtime.store.close()


def test_no_name_is_learned_where_that_is_turned_off(tmp_path):
    runtime = runtime_in(tmp_path, training=TrainingTable(intent_names=False))
    seed_runtime(runtime)
    assert names_learned(runtime)[0] == {}
    runtime.store.close()


def test_an_intent_without_samples_is_not_learned_by_its_name_alone(tmp_path):
    runtime = runtime_in(tmp_path)
    few = [(PLAY, word) for word in WORDS[PLAY]] + [(ALARM, word) for word in WORDS[ALARM]]
    add_samples(
        runtime, [sample(f"{word} seed", intent, "train") for intent, word in few], by="ana"
    )
    add_samples(runtime, [sample("what judges", ALARM, "golden")], by="ana")
    assert set(names_learned(runtime)[0].values()) == {PLAY, ALARM}
    runtime.store.close()
