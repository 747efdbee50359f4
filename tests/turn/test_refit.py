"""Dev samples are learned after the choosing, and are never shown as if they were unseen."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from memoriser import Memoriser
from runtimes import (
    ALARM,
    WORDS,
    Parrot,
    runtime_in,
    sample,
    two_turns,
)

from flywheel.config import TrainingTable
from flywheel.store import adapters, turns
from flywheel.turn import add_samples
from flywheel.turn.artifacts import dataset_rows, learned_rows
from tests.fakes import json_views as views


class Refitting(Memoriser):
    """Answers `none` on dev before it learns it, as a worker's dev.parquet would tell."""

    def _train(self, folder, spec):
        values = super()._train(folder, spec)
        learned = [
            row
            for row in pq.read_table(spec["dataset"]).to_pylist()
            if row["split"] == "dev" and row["weight"] > 0
        ]
        rows = [{"id": row["id"], "intent": "none", "arguments": "{}"} for row in learned]
        if rows:
            pq.write_table(pa.Table.from_pylist(rows), folder / "dev.parquet")
        return values


@pytest.fixture
def runtime(tmp_path):
    built = runtime_in(tmp_path, teacher=Parrot())
    built.executor.__class__ = Refitting
    yield built
    built.store.close()


def a_second_turn(runtime):
    names = two_turns(runtime)
    with runtime.store.read() as con:
        return [turns.get(con, name) for name in names]


def of_dataset(runtime, turn):
    return runtime.datasets_dir / f"{turn.record.dataset}.parquet"


def test_the_first_champion_learns_dev_as_every_challenger_does(runtime):
    for turn in a_second_turn(runtime):
        dev = dataset_rows(of_dataset(runtime, turn), "dev")
        assert len(dev) == 6 * len(WORDS)
        assert all(row["weight"] > 0 for row in dev)
        whole = len(dev) + len(dataset_rows(of_dataset(runtime, turn)))
        assert len(learned_rows(of_dataset(runtime, turn))) == whole


def test_what_is_said_of_dev_is_what_the_model_answered_before_it_learned_it(runtime):
    _, second = a_second_turn(runtime)
    with runtime.store.read() as con:
        outcomes = adapters.load_report(con, second.id).outcomes
    dev = [row for row in outcomes if row.split == "dev"]
    assert dev
    assert {row.challenger_intent for row in dev} == {"none"}
    assert not any(row.challenger_correct or row.champion_correct for row in dev)
    golden = [row for row in outcomes if row.split == "golden"]
    assert all(row.challenger_correct for row in golden)


def test_a_dev_sample_near_a_golden_one_is_not_learned(runtime):
    near = sample("wake me up early tomorrow morning please", ALARM, "golden")
    twin = sample("please wake me up early tomorrow morning", ALARM, "dev")
    add_samples(runtime, [near, twin], by="ana")
    _, second = a_second_turn(runtime)
    weights = {row["id"]: row["weight"] for row in dataset_rows(of_dataset(runtime, second), "dev")}
    assert weights.pop(twin.sample.id) == 0
    assert all(weights.values())
    decision = views.decision_view(runtime, views.turn_view(runtime, second.id)["decision"])
    hygiene = next(gate for gate in decision["gates"] if gate["gate"] == "hygiene")
    assert hygiene["verdict"] == "PASS", json.dumps(hygiene)


def test_refit_can_be_turned_off(tmp_path):
    runtime = runtime_in(tmp_path, teacher=Parrot(), training=TrainingTable(refit=False))
    _, second = a_second_turn(runtime)
    assert learned_rows(of_dataset(runtime, second)) == dataset_rows(of_dataset(runtime, second))
    runtime.store.close()
