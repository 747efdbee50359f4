"""Labels that curation doubts, in a turn: refused, weighed less, left to dev, and asked about."""

import dataclasses

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from runtimes import ALARM, NOW, PLAY, TIMER, runtime_in, sample, seed_runtime, turn_once

from flywheel.config import LabellingTable
from flywheel.config.tables import CurationTable
from flywheel.label_queue import LabelAnswer, asked, give_many
from flywheel.records import Feedback, Prediction
from flywheel.store import events, samples
from flywheel.turn import add_samples
from tests.fakes import json_views as views

ANN = "ann (uid 1)"
WRONG = {f"tick {n}": 400.0 + n for n in range(15)}
DOUBTED = WRONG | {"tick 15": 1.8, "tick 16": 17.0}  # odds against their labels


@pytest.fixture
def runtime(tmp_path):
    table = LabellingTable(first=0, audit=0.0, uncertain=0.0, second_opinion=0.0)
    with_store = runtime_in(tmp_path, labelling=table)
    yield with_store
    with_store.store.close()


def told(runtime, count=60):
    """Feedback of one intent, some of which the model doubts."""
    with runtime.store.write() as con:
        events.add_predictions(
            con,
            [Prediction(id=f"p-{n}", ts=NOW, text=f"tick {n}", intent=TIMER) for n in range(count)],
        )
        events.add_feedback(
            con,
            [
                Feedback(
                    id=f"f-{n}", prediction_id=f"p-{n}", ts=NOW, verdict="corrected",
                    intent=ALARM, rater=f"u-{n % 8}", rater_kind="user",
                )
                for n in range(count)
            ],
        )  # fmt: skip


def doubting(folder, spec):
    rows = pq.read_table(folder / "rows.parquet").to_pylist()
    scores = [
        {"id": row["id"], "p_label": 0.1, "p_top": 0.8, "anchor": None}
        | {
            "top": TIMER if row["text"].casefold() in DOUBTED else row["intent"],
            "odds": DOUBTED.get(row["text"].casefold(), 1.0),
        }
        for row in rows
    ]
    pq.write_table(pa.Table.from_pylist(scores), folder / "scores.parquet")
    pq.write_table(pa.table({"id": [], "other": [], "cosine": []}), folder / "pairs.parquet")
    return {}


def curated(runtime, **on_dev):
    """A turn in which the rule on label noise acts, and dev says this of it."""
    seed_runtime(runtime)
    turn_once(runtime)
    told(runtime)
    runtime.executor._crossfit = doubting
    if on_dev:
        runtime.executor._noise_check = lambda folder, spec: {
            "dev": 18, "ruled": 0.6, "given": 0.7, **on_dev,
        }  # fmt: skip
    turn_id = turn_once(runtime)
    return turn_id, views.turn_view(runtime, turn_id)


def rows(runtime, turn_id, reason):
    with runtime.store.read() as con:
        return {item.sample.text: item.detail for item in samples.refusals(con, turn_id, reason)}


def weights(runtime, view):
    table = pq.read_table(runtime.datasets_dir / f"{view['dataset']}.parquet").to_pylist()
    return {row["text"]: row["weight"] for row in table if row["text"].startswith("tick")}


def test_likely_wrong_labels_are_refused_and_each_row_says_why(runtime):
    turn_id, view = curated(runtime)
    refused, doubted = (rows(runtime, turn_id, why) for why in ("label_noise", "doubted"))
    assert refused.keys() == WRONG.keys()
    assert refused["tick 0"].startswith("wrong with probability ")
    assert refused["tick 0"].endswith("set_timer fits 400 times better (0.80, its label 0.10)")
    noise = view["noise"]
    assert (noise["refused"], noise["down_weighted"], noise["judged"]) == (15, len(doubted), 60)
    assert noise["precision"] >= CurationTable().noise_precision
    assert noise["left_out"] is False
    assert noise["on_dev"]["dev"] == 18
    assert view["refused"]["label_noise"] == 15
    detail = next(step["detail"] for step in view["steps"] if step["name"] == "curate")
    assert "labels refused as noise: 15" in detail
    learned = weights(runtime, view)
    assert not refused.keys() & learned.keys()
    for text, why in doubted.items():
        assert why.startswith("counts less: wrong with probability")
        assert learned[text] < learned["tick 40"]


def test_the_rule_is_left_out_where_dev_does_clearly_better_without_it(runtime):
    turn_id, view = curated(runtime, gained=1, lost=6)
    assert view["noise"]["left_out"] is True
    assert rows(runtime, turn_id, "label_noise") == rows(runtime, turn_id, "doubted") == {}
    assert weights(runtime, view).keys() == {f"tick {n}" for n in range(60)}
    detail = next(step["detail"] for step in view["steps"] if step["name"] == "curate")
    assert "the rule on label noise is left out: on dev it loses 6 and gains 1 of 18" in detail


def test_a_difference_that_chance_explains_does_not_leave_the_rule_out(runtime):
    _, view = curated(runtime, gained=3, lost=5)
    assert (view["noise"]["left_out"], view["noise"]["refused"]) == (False, 15)


def test_dev_is_not_asked_where_the_configuration_says_so(runtime):
    config = dataclasses.replace(runtime.config, curation=CurationTable(noise_on_dev=False))
    _, view = curated(dataclasses.replace(runtime, config=config), gained=0, lost=9)
    assert "on_dev" not in view["noise"]
    assert view["noise"]["refused"] == 15


def test_doubted_labels_are_asked_about_and_the_answer_is_learned(runtime):
    curated(runtime)
    items = [item for item in asked(runtime, ANN, 30)[1] if item.kind == "doubted"]
    by_text = {item.text: item for item in items}
    assert WRONG.keys() <= by_text.keys() <= DOUBTED.keys()
    item = by_text["tick 1"]
    assert (item.id, item.said, item.guesses) == ("doubted:p-1", (ALARM,), (ALARM, TIMER))
    assert give_many(runtime, ANN, [LabelAnswer(item=item.id, intent=PLAY)]) == ["kept"]
    with runtime.store.read() as con:
        assert ("tick 1", PLAY) in {(s.text, s.intent) for s in samples.training(con)}
    left = {item.text for item in asked(runtime, ANN, 30)[1] if item.kind == "doubted"}
    assert left == by_text.keys() - {"tick 1"}


def test_a_text_that_was_skipped_is_not_asked_again_by_another_prediction(runtime):
    curated(runtime)
    with runtime.store.write() as con:
        events.add_predictions(con, [Prediction(id="again", ts=NOW, text="Tick 1", intent=TIMER)])
        events.add_feedback(con, [
            Feedback(id="f-again", prediction_id="again", ts=NOW, verdict="corrected",
                     intent=ALARM, rater="u-0", rater_kind="user"),
        ])  # fmt: skip
    first = {item.text: item.id for item in asked(runtime, ANN, 30)[1] if item.kind == "doubted"}
    assert give_many(runtime, ANN, [LabelAnswer(item=first["tick 1"], intent=None)]) == ["skipped"]
    turn_id = turn_once(runtime)
    noise = views.turn_view(runtime, turn_id)["noise"]
    assert {"p-1", "again"} & {each["prediction"] for each in noise["ask"]}
    left = [item.text for item in asked(runtime, ANN, 30)[1] if item.kind == "doubted"]
    assert left
    assert not {"tick 1", "Tick 1"} & set(left)


def test_a_seed_near_what_judges_is_named_in_the_turn_with_the_sample_it_is_near(runtime):
    seed_runtime(runtime)
    twin = sample("rooster golden seed", ALARM, "train")
    judge = sample("golden rooster seed", ALARM, "golden")
    add_samples(runtime, [twin, judge], by="ana")
    turn_id = turn_once(runtime)
    view = views.turn_view(runtime, turn_id)
    assert view["held_out"] == {twin.sample.id: judge.sample.id}
    detail = next(step["detail"] for step in view["steps"] if step["name"] == "curate")
    assert (
        "; 1 seed not learned, being near what judges: "
        f"`flywheel turn refused {turn_id} --reason leak` names them" in detail
    )
    assert rows(runtime, turn_id, "leak") == {
        "rooster golden seed": "1.00 near held-out “golden rooster seed”"
    }
