"""Production texts that nobody labelled: who learns them, and who must not."""

import hashlib

import pytest
from runtimes import (
    ALARM,
    NOW,
    WORDS,
    Parrot,
    runtime_in,
    sample,
    turn_once,
)

from flywheel.config import TrainingTable
from flywheel.label_queue.known_texts import trained_texts
from flywheel.records import Prediction
from flywheel.store import events, turns
from flywheel.store.erasure import Person
from flywheel.turn import add_samples
from flywheel.turn.artifacts import dataset_rows, learned_rows
from flywheel.turn.erase import erase

SAID = [f"{WORDS[ALARM][n % 6]} call number {n} {'abcdefgh'[n % 8] * 5}" for n in range(40)]


def learnable(text):
    return hashlib.md5(f"learn:{text}".encode(), usedforsecurity=False).hexdigest() < "8"


@pytest.fixture
def make(after_a_turn, tmp_path):
    made = []

    def build(unlabelled):
        after_a_turn(tmp_path)
        made.append(
            runtime_in(tmp_path, teacher=Parrot(), training=TrainingTable(unlabelled=unlabelled))
        )
        return made[-1]

    yield build
    for runtime in made:
        runtime.store.close()


def after_a_second_turn(runtime, texts=SAID):
    """The dataset of a turn after production has said `texts`."""
    with runtime.store.write() as con:
        events.add_predictions(
            con,
            [
                Prediction(id=f"u-{n}", ts=NOW, text=text, intent=ALARM)
                for n, text in enumerate(texts)
            ],
        )
    name = turn_once(runtime)
    with runtime.store.read() as con:
        return runtime.datasets_dir / f"{turns.get(con, name).record.dataset}.parquet"


def unlabelled(path):
    return {row["text"] for row in dataset_rows(path, "unlabelled")}


def test_no_text_without_a_label_is_learned_unless_it_is_asked_for(make):
    assert unlabelled(after_a_second_turn(make(0))) == set()


def test_a_fixed_half_of_the_texts_is_learned_so_that_the_other_half_may_judge(make):
    path = after_a_second_turn(make(1000))
    expected = {text for text in SAID if learnable(text)}
    assert 5 < len(expected) < len(SAID) - 5
    assert unlabelled(path) == expected


def test_no_more_texts_than_asked_for_and_those_in_words_of_their_own_kind(make):
    path = after_a_second_turn(make(3))
    rows = dataset_rows(path, "unlabelled")
    assert len(rows) == 3
    assert {(row["intent"], row["weight"], row["origin"]) for row in rows} == {
        (None, 0.0, "production")
    }


def test_a_text_that_was_learned_without_a_label_is_asked_about_no_more(make):
    runtime = make(1000)
    path = after_a_second_turn(runtime)
    with runtime.store.read() as con:
        known = set(trained_texts(runtime, con))
    assert unlabelled(path) <= known
    assert {row["text"] for row in learned_rows(path)} >= unlabelled(path)
    assert not {text for text in SAID if not learnable(text)} & known


def test_a_text_near_one_that_judges_is_not_learned_without_a_label_either(make):
    runtime = make(1000)
    mine = next(text for text in SAID if learnable(text))
    add_samples(runtime, [sample(f"{mine} please", ALARM, "golden")], by="ana")
    assert mine not in unlabelled(after_a_second_turn(runtime))


def test_an_erased_text_leaves_the_dataset_and_its_adapter_is_named(make):
    runtime = make(1000)
    path = after_a_second_turn(runtime)
    number, mine = next((n, text) for n, text in enumerate(SAID) if learnable(text))
    assert mine in unlabelled(path)
    said = erase(runtime, Person(prediction=f"u-{number}"), "ana")
    assert said["left"] == {}
    assert f"datasets/{path.name}" in said["files"]
    assert said["adapters"]
    assert mine not in unlabelled(path)


def test_a_text_that_was_labelled_is_learned_by_its_label_alone(make):
    runtime = make(1000)
    path = after_a_second_turn(runtime)
    assert not unlabelled(path) & {row["text"] for row in dataset_rows(path)}


def test_texts_that_put_the_threshold_are_others_than_those_that_are_learned(make):
    path = after_a_second_turn(make(3))
    threshold = {row["text"] for row in dataset_rows(path, "threshold")}
    assert threshold == {text for text in SAID if learnable(text)} - unlabelled(path)
    assert not threshold & {row["text"] for row in learned_rows(path)}
