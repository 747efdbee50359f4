"""Datasets and seals: named by content, whatever the order; the golden set never among them."""

from __future__ import annotations

import re

import msgspec
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel import datasets
from flywheel.content import canonical, content_id
from flywheel.datasets import TrainingSet, assemble, rows_table, sample_id, seal
from flywheel.records import Sample


def sample(number, split="train", arguments=None, **more):
    text = f"放第 {number} 首歌"
    identity = sample_id(text, "play", arguments, "seed", split)
    return Sample(
        id=identity,
        text=text,
        intent="play",
        arguments=arguments,
        origin="seed",
        split=split,
        **more,
    )


numbers = st.lists(st.integers(0, 30), max_size=12)
jsonlike = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(numbers, numbers, st.randoms(use_true_random=False))
def test_a_dataset_is_named_by_its_rows_in_any_order(train, dev, chance):
    rows = [sample(n) for n in train]
    examined = [sample(n, "dev") for n in dev]
    first, table = assemble(TrainingSet(train=tuple(rows), dev=tuple(examined)))
    chance.shuffle(rows)
    chance.shuffle(examined)
    second, again = assemble(TrainingSet(train=tuple(rows * 2), dev=tuple(examined)))
    assert first == second
    assert table.equals(again)
    assert (first.train, first.dev) == (len(set(train)), len(set(dev)))
    assert first.path == f"datasets/{first.id}.parquet"
    assert re.fullmatch(r"ds-[0-9a-f]{20}", first.id)


@pytest.mark.parametrize(
    "other",
    [
        sample(2),
        sample(1, arguments={}),
        sample(1, arguments={"n": 1}),
        sample(1, weight=0.5),
        sample(1, family="f-1"),
    ],
)
def test_anything_that_training_sees_changes_the_name(other):
    first, _ = assemble(TrainingSet(train=(sample(1),)))
    second, _ = assemble(TrainingSet(train=(other,)))
    assert first.id != second.id


@pytest.mark.parametrize("split", ["golden", "fresh"])
def test_what_judges_a_model_is_refused_at_birth(split):
    judged = sample(1, split)
    with pytest.raises(ValueError, match=f"{judged.id} is of split `{split}`, not `train`"):
        TrainingSet(train=(judged,))
    with pytest.raises(ValueError, match="not `dev`"):
        TrainingSet(train=(), dev=(judged,))
    with pytest.raises(ValueError, match="not `dev`"):
        TrainingSet(train=(), dev=(sample(1),))


def test_the_rows_survive_parquet(tmp_path):
    row = sample(1, arguments={"歌": "夜曲", "a": [1, None]}, family="f-1", weight=0.5)
    dataset, table = assemble(TrainingSet(train=(row,), dev=(sample(2, "dev"),)))
    pq.write_table(table, tmp_path / "rows.parquet")
    read = pq.read_table(tmp_path / "rows.parquet")
    assert read.schema.equals(datasets.COLUMNS)
    assert dataset.by_origin == {"seed": 1}
    assert read.to_pylist()[1] == {
        "id": row.id,
        "text": "放第 1 首歌",
        "intent": "play",
        "arguments": '{"a":[1,null],"歌":"夜曲"}',
        "origin": "seed",
        "split": "train",
        "weight": 0.5,
        "family": "f-1",
    }
    assert read.to_pylist()[0]["arguments"] is None


@given(numbers, st.randoms(use_true_random=False))
def test_a_seal_does_not_depend_on_the_order(golden, chance):
    rows = [sample(n, "golden") for n in golden]
    sealed = seal(rows)
    chance.shuffle(rows)
    assert seal(rows) == sealed
    assert re.fullmatch(r"golden-[0-9a-f]{20}", sealed)


@pytest.mark.parametrize(
    "change",
    [
        {"intent": "stop"},
        {"text": "别放"},
        {"arguments": {}},
        {"must_pass": True},
        {"family": "f-1"},
        {"slices": {"channel": "voice"}},
    ],
)
def test_a_seal_breaks_when_a_row_or_how_it_is_judged_changes(change):
    row = sample(1, "golden")
    assert seal([row]) != seal([msgspec.structs.replace(row, **change)])
    assert seal([row]) != seal([row, row]) != seal([])


def test_only_golden_rows_are_sealed():
    with pytest.raises(ValueError, match="not `golden`"):
        seal([sample(1)])


@given(jsonlike)
def test_a_name_depends_on_content_and_not_on_the_order_of_keys(value):
    assert canonical(value) == canonical(_reversed(value))
    assert content_id("x", value) == content_id("x", _reversed(value))


def test_the_same_label_for_the_same_text_is_one_sample():
    one = sample_id("放歌", "play", {"a": 1, "b": 2}, "seed", "train")
    assert one == sample_id("放歌", "play", {"b": 2, "a": 1}, "seed", "train")
    others = {
        sample_id("放歌 ", "play", {"a": 1, "b": 2}, "seed", "train"),
        sample_id("放歌", "stop", {"a": 1, "b": 2}, "seed", "train"),
        sample_id("放歌", "play", None, "seed", "train"),
        sample_id("放歌", "play", {}, "seed", "train"),
        sample_id("放歌", "play", {"a": 1, "b": 2}, "person", "train"),
        sample_id("放歌", "play", {"a": 1, "b": 2}, "seed", "dev"),
    }
    assert len(others | {one}) == 7


def test_a_number_that_json_does_not_know_has_no_name():
    with pytest.raises(ValueError, match="JSON"):
        canonical(float("nan"))
    with pytest.raises(TypeError, match="set is not JSON"):
        canonical({1})


def test_job_rows_carry_the_label_where_one_is_given():
    bare = rows_table([("s-1", "放歌")])
    assert bare.to_pylist() == [{"id": "s-1", "text": "放歌"}]
    full = rows_table([("s-1", "放歌")], intent=["play"], origin=["seed"])
    assert full.to_pylist() == [{"id": "s-1", "text": "放歌", "intent": "play", "origin": "seed"}]
    assert rows_table([]).num_rows == 0
    with pytest.raises(ValueError, match="`intent` has 0 values for 1 rows"):
        rows_table([("s-1", "放歌")], intent=[])


def _reversed(value):
    if isinstance(value, dict):
        return {key: _reversed(value[key]) for key in reversed(value)}
    return [_reversed(item) for item in value] if isinstance(value, list) else value
