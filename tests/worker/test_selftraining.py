"""Texts without a label are learned by what a first model says of them, where dev says it helps."""

import json
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_training import TEXTS, spec

from flywheel.worker import train
from flywheel.worker.models.encoder import adapter
from flywheel.worker.progress import ProgressLog
from flywheel.worker.train import run

SAID = ["play something by abba", "play a jazz song", "wake me at eight", "alarm for ten please",
        "will it snow tomorrow", "weather in rome", "show my balance", "money in my savings",
        "say cat in german", "translate bread to french", "tell me another joke", "be funny",
        "call my sister", "phone the doctor", "blue tastes of tuesday"]  # fmt: skip

logits = st.integers(1, 5).flatmap(
    lambda classes: st.lists(
        st.lists(st.integers(-9, 9), min_size=classes, max_size=classes), min_size=1, max_size=30
    )
)


@given(logits, st.floats(0.01, 1.0))
def test_of_each_intent_the_surest_share_is_taken_and_of_none_less_than_one_row(values, share):
    given_logits = torch.tensor(values, dtype=torch.float32)
    taken = train.surest(given_logits, share)
    best = given_logits.argmax(1).tolist()
    sure = given_logits.softmax(1).amax(1).tolist()
    assert len({row for row, _ in taken}) == len(taken)
    for number in range(given_logits.shape[1]):
        rows = [row for row, label in taken if label == number]
        its = [row for row, label in enumerate(best) if label == number]
        assert len(rows) == math.ceil(share * len(its))
        assert set(rows) <= set(its)
        left = [sure[row] for row in set(its) - set(rows)]
        assert not rows or not left or min(sure[row] for row in rows) >= max(left)


def with_unlabelled(folder, texts, **changes):
    told = spec(folder, **changes)
    rows = pq.read_table(told["dataset"]).to_pylist()
    rows += [
        {**rows[0], "id": f"u-{n:03}", "text": text, "intent": None, "arguments": None,
         "origin": "production", "split": "unlabelled", "weight": 0.0}
        for n, text in enumerate(texts)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), told["dataset"])
    return told


@pytest.fixture(scope="module")
def told_more(tmp_path_factory):
    """Values of a train job that has unlabelled texts, and its folder."""
    folder = tmp_path_factory.mktemp("more")
    known = TEXTS["joke"][0]
    return folder, run(folder, with_unlabelled(folder, [*SAID, known]), ProgressLog(folder / "p"))


def test_the_model_that_is_better_on_dev_is_kept_and_what_was_tried_is_told(trained, told_more):
    said = told_more[1]["metrics"]["self_training"]
    assert said["offered"] == len(SAID) + 1
    assert 7 <= said["learned"] < len(SAID)  # a share of each intent's, and no training row again
    assert said["dev_before"] == trained[1]["metrics"]["curve"][-1]["dev_accuracy"]
    assert said["kept"] == (said["dev_after"] > said["dev_before"])
    same = told_more[1]["adapter"] == trained[1]["adapter"]
    assert same != said["kept"]  # a model that did not help leaves no trace in the adapter


def test_the_second_model_is_served_where_it_is_better(monkeypatch, trained, tmp_path):
    first = iter([0, 1])
    monkeypatch.setattr(train, "dev_hits", lambda _: next(first))
    values = run(tmp_path, with_unlabelled(tmp_path, SAID), ProgressLog(tmp_path / "p"))
    assert values["metrics"]["self_training"]["kept"]
    assert values["adapter"] != trained[1]["adapter"]
    facts = json.loads((tmp_path / "adapter" / "flywheel.json").read_text("utf-8"))
    assert facts["id"] == adapter.content_id(adapter.load(tmp_path / "adapter"))
    assert set(facts["labels"]) == set(TEXTS)


def test_unlabelled_texts_change_nothing_where_nothing_is_trained(tmp_path):
    told = with_unlabelled(tmp_path, SAID, recipe="frozen")
    values = run(tmp_path, told, ProgressLog(tmp_path / "p"))
    assert "self_training" not in values["metrics"]
