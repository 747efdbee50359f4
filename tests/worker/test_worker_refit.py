"""Dev rows are learned once everything is chosen, and nothing that is said of dev knows of it."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_training import DEV, spec

from flywheel.worker import recipes
from flywheel.worker.dataset_rows import Split, joined
from flywheel.worker.models.encoder import adapter, out_of_scope
from flywheel.worker.models.protocol import FitRequest
from flywheel.worker.progress import ProgressLog
from flywheel.worker.train import learnable, run

ON_DEV = ("dev_accuracy", "dev_macro", "dev_intents", "dev_exact", "head", "temperature", "curve")


@pytest.fixture(scope="module")
def refitted(tmp_path_factory):
    """Folder and values of a train job that may learn dev."""
    folder = tmp_path_factory.mktemp("refit")
    return folder, run(folder, spec(folder, learn_dev=True), ProgressLog(folder / "p"))


def test_the_choices_and_the_figures_on_dev_are_those_of_the_model_that_had_not_seen_it(
    trained, refitted
):
    before, after = trained[1], refitted[1]
    assert after["adapter"] != before["adapter"]
    assert {n: after["metrics"][n] for n in ON_DEV} == {n: before["metrics"][n] for n in ON_DEV}
    assert before["metrics"]["dev_learned"] == 0
    assert after["metrics"]["dev_learned"] == sum(
        len(lines) for intent, lines in DEV.items() if intent != "none"
    )


def test_the_answers_on_dev_are_kept_from_before_it_was_learned(trained, refitted):
    rows = pq.read_table(refitted[0] / "dev.parquet").to_pylist()
    truth = [intent for intent, lines in DEV.items() for _ in lines]
    by_id = sorted(rows, key=lambda row: row["id"])
    right = sum(row["intent"] == intent for row, intent in zip(by_id, truth, strict=True))
    assert right / len(rows) == pytest.approx(refitted[1]["metrics"]["dev_accuracy"], abs=1e-4)
    assert not (trained[0] / "dev.parquet").exists()


def test_a_training_killed_while_it_learns_dev_ends_in_the_same_adapter(refitted, tmp_path):
    told = spec(tmp_path, learn_dev=True)
    whole = recipes.named(told["recipe"]).epochs

    class Killed(BaseException):
        pass

    class Watched(ProgressLog):
        def report(self, done, detail, **values):
            if detail.startswith("with dev rows") and values.get("epoch") == whole - 1:
                raise Killed
            super().report(done, detail, **values)

    with pytest.raises(Killed):
        run(tmp_path, told, Watched(tmp_path / "p"))
    assert not (tmp_path / "adapter").exists()
    again = run(tmp_path, told, ProgressLog(tmp_path / "p"))
    assert again["adapter"] == refitted[1]["adapter"]


def test_a_first_champion_learns_dev_too_and_its_figures_are_of_the_model_that_had_not(tmp_path):
    found = {}
    for learn in (False, True):
        folder = tmp_path / f"learn-{learn}"
        folder.mkdir()
        told = spec(folder, learn_dev=learn, recipe="frozen")
        found[learn] = run(folder, told, ProgressLog(folder / "p"))
    assert found[True]["metrics"]["dev_learned"] > found[False]["metrics"]["dev_learned"] == 0
    assert found[True]["metrics"]["dev_intents"] == found[False]["metrics"]["dev_intents"]
    assert found[True]["adapter"] != found[False]["adapter"]
    assert (tmp_path / "learn-True" / "dev.parquet").exists()


def _split(rows):
    return Split(
        ids=[str(n) for n in range(len(rows))],
        texts=["a text"] * len(rows),
        intents=[intent for intent, _ in rows],
        arguments=[None] * len(rows),
        weights=torch.tensor([weight for _, weight in rows]),
    )


weights = st.floats(0.125, 9, width=32)
rows = st.tuples(st.sampled_from("abc"), weights)


@settings(max_examples=60)
@given(st.lists(rows, min_size=3), st.lists(rows))
def test_an_intent_weighs_in_sum_what_it_weighed_without_dev(train, dev):
    train = _split([*train, ("a", 1.0), ("b", 1.0), ("c", 1.0)])
    both = joined(train, _split(dev), ["a", "b", "c"])
    assert len(both.texts) == len(train.texts) + len(dev)
    for intent in "abc":
        sums = [
            sum(float(w) for i, w in zip(each.intents, each.weights, strict=True) if i == intent)
            for each in (train, both)
        ]
        assert sums[1] == pytest.approx(sums[0], rel=1e-4)


def test_dev_rows_that_may_be_learned_have_weight_and_an_intent_that_is_trained(tmp_path):
    dev = _split([("a", 1.0), ("b", 0.0), ("d", 1.0), ("none", 1.0), ("c", 0.5)])
    request = FitRequest(
        train=_split([("a", 1.0)]),
        dev=dev,
        labels=["a", "b", "c", "none"],
        arguments={},
        recipe=recipes.DEFAULT,
        seed=0,
        checkpoint=tmp_path / "c.safetensors",
    )
    assert learnable(request) == [0, 4]


scores = st.lists(st.floats(-50, 50, width=32), min_size=1, unique=True)


@given(
    st.lists(st.floats(-50, 50, width=32), min_size=8, unique=True),
    st.floats(-60, 60, width=32),
    st.floats(0.5, 2, width=32),
    st.floats(-9, 9, width=32),
)
def test_a_threshold_moves_as_the_scores_of_the_same_texts_do(before, at, scale, shift):
    old = torch.tensor(before, dtype=torch.float64)
    rule = out_of_scope.carried(out_of_scope.ScopeRule("energy", at), old, scale * old + shift)
    assert rule.threshold == pytest.approx(scale * at + shift, abs=1e-3)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=20),
    st.floats(0.05, 0.95),
)
def test_a_carried_confidence_is_one_still(pairs, at):
    old, new = (torch.tensor(values) for values in zip(*pairs, strict=True))
    assert (
        0 < out_of_scope.carried(out_of_scope.ScopeRule("confidence", at), old, new).threshold < 1
    )


def test_two_texts_say_how_far_a_threshold_moves_and_nothing_of_its_spread():
    rule = out_of_scope.carried(
        out_of_scope.ScopeRule("margin", 0.8), torch.tensor([0.1, 0.1001]), torch.tensor([0.2, 0.9])
    )
    assert rule.threshold == pytest.approx(1.25, abs=1e-3)


def test_one_text_of_none_that_looks_like_a_call_does_not_take_the_threshold_with_it():
    old = torch.tensor([-4.0, -3.5, -3.0, -2.5, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5])
    new = torch.cat([old[:-1], torch.tensor([6.0])])
    rule = out_of_scope.carried(out_of_scope.ScopeRule("margin", 1.0), old, new)
    assert 1.0 < rule.threshold < 4.0  # by order it would be above 6


@given(scores, st.floats(-60, 60, width=32))
def test_a_threshold_carried_to_the_same_model_stays(before, at):
    old = torch.tensor(before)
    rule = out_of_scope.carried(out_of_scope.ScopeRule("margin", at), old, old)
    assert rule.threshold == pytest.approx(at, abs=1e-3)
    assert rule.score == "margin"


@given(
    st.lists(st.floats(-9, 9, width=32), min_size=1),
    st.floats(-10, 10, width=32),
    st.floats(-5, 5, width=32),
)
def test_a_threshold_moves_with_the_middle_text_though_others_lie_elsewhere(before, at, moved):
    old = torch.tensor(before, dtype=torch.float64).sort().values
    new = old + moved
    new[len(new) // 2 + 1 :] += 3  # surer of the upper half: the middle says nothing of it
    rule = out_of_scope.carried_by_shift(out_of_scope.ScopeRule("both", at), old, new)
    assert rule.score == "both"
    assert rule.threshold == pytest.approx(at + moved, abs=1e-3)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=20),
    st.floats(0.05, 0.95),
)
def test_a_confidence_that_moved_with_the_middle_text_is_one_still(pairs, at):
    old, new = (torch.tensor(values) for values in zip(*pairs, strict=True))
    rule = out_of_scope.carried_by_shift(out_of_scope.ScopeRule("confidence", at), old, new)
    assert 0 <= rule.threshold <= 1


def test_production_texts_that_nobody_labelled_put_the_threshold_and_are_not_learned(tmp_path):
    def trained_with(name, threshold):
        (tmp_path / name).mkdir()
        told = spec(tmp_path / name, learn_dev=True)
        table = pq.read_table(told["dataset"])
        rows = [
            {"id": f"u-{n}", "text": text, "intent": None, "arguments": None, "family": "",
             "origin": "production", "split": "threshold", "weight": 0.0}
            for n, text in enumerate(threshold)
        ]  # fmt: skip
        both = pa.concat_tables([table, pa.Table.from_pylist(rows, schema=table.schema)])
        pq.write_table(both, told["dataset"])
        run(tmp_path / name, told, ProgressLog(tmp_path / name / "p"))
        return adapter.load(tmp_path / name / "adapter")

    said = [f"{word} {n}" for word in ("call", "play", "how are") for n in range(100)]
    without, by_few, by_many = (
        trained_with(name, said[:count]) for name, count in (("a", 0), ("b", 9), ("c", 300))
    )
    assert by_few.scope == without.scope != by_many.scope
    assert by_many.scope.score == without.scope.score
    for name in without.factors:
        assert torch.equal(without.factors[name][0], by_many.factors[name][0])
