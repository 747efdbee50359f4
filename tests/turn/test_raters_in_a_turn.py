"""Raters who disagree, and one who is often wrong, in a turn."""

import dataclasses

import pyarrow as pa
import pyarrow.parquet as pq
from runtimes import ALARM, NOW, PLAY, turn_once

from flywheel.config import RatersTable
from flywheel.records import Feedback, Prediction
from flywheel.store import events
from flywheel.store.samples import refusals
from tests.fakes import json_views as views


def tell(runtime, said):
    """Feedback as (prediction, text, rater, kind, intent)."""
    texts = {key: text for key, text, *_ in said}
    with runtime.store.write() as con:
        events.add_predictions(
            con, [Prediction(id=k, ts=NOW, text=t, intent="none") for k, t in texts.items()]
        )
        events.add_feedback(
            con,
            [
                Feedback(
                    id=f"f-{key}-{rater}",
                    prediction_id=key,
                    ts=NOW,
                    verdict="corrected",
                    intent=intent,
                    rater=rater,
                    rater_kind=kind,
                )
                for key, _, rater, kind, intent in said
            ],
        )


def trained(runtime, turn_id):
    name = views.turn_view(runtime, turn_id)["dataset"]
    return pq.read_table(runtime.datasets_dir / f"{name}.parquet").to_pylist()


def test_what_raters_disagree_on_is_kept_with_both_labels_and_not_learnt(learned):
    config = dataclasses.replace(learned.config, raters=RatersTable(experts=("e-1",)))
    runtime = dataclasses.replace(learned, config=config)
    tell(
        runtime,
        [
            ("p-1", "唱 egg", "u-1", "user", PLAY),
            ("p-1", "唱 egg", "u-2", "user", ALARM),
            ("p-2", "oven 早", "u-1", "user", PLAY),
            ("p-2", "oven 早", "e-1", "expert", ALARM),
            ("p-3", "bell 早", "u-1", "user", PLAY),
            ("p-3", "bell 早", "e-2", "expert", ALARM),  # nobody but the event says so
        ],
    )
    turn_id = turn_once(runtime)
    with runtime.store.read() as con:
        refused = refusals(con, turn_id)
    told = {(r.sample.text, r.sample.intent, r.reason) for r in refused}
    assert {("唱 egg", PLAY, "conflict"), ("唱 egg", ALARM, "conflict")} <= told
    assert ("oven 早", PLAY, "outvoted") in told
    assert {("bell 早", PLAY, "conflict"), ("bell 早", ALARM, "conflict")} <= told
    learnt = {(row["text"], row["intent"]) for row in trained(runtime, turn_id)}
    assert ("oven 早", ALARM) in learnt
    assert "唱 egg" not in {text for text, _ in learnt}


def test_a_rater_who_is_often_wrong_is_named_and_weighs_less(learned):
    runtime = learned
    runtime.executor._crossfit = doubting_the_bogus  # the model doubts most of what u-0 says
    # Different intents, so that no cap is met; five others who are right.
    tell(
        runtime, [(f"b-{n}", f"bogus {n}", "u-0", "user", (PLAY, ALARM)[n % 2]) for n in range(10)]
    )
    right = [(f"r-{n}", f"wake dawn r{n}", f"u-{1 + n % 5}", "user", ALARM) for n in range(25)]
    tell(runtime, right)
    turn_id = turn_once(runtime)
    view = views.turn_view(runtime, turn_id)
    (named,) = view["raters"]["doubted"]
    assert (named["rater"], named["votes"]) == ("u-0", 10)
    assert named["wrong"] > 2 * view["raters"]["usual"]
    curated = next(step for step in view["steps"] if step["name"] == "curate")
    assert "1 of 6 raters wrong far more often than most" in curated["detail"]
    assert "u-0" not in curated["detail"]
    rows = [row for row in trained(runtime, turn_id) if row["split"] == "train"]
    weights = {row["text"]: row["weight"] for row in rows if row["intent"] == ALARM}
    assert max(w for t, w in weights.items() if t.startswith("bogus")) < weights["wake dawn r1"]
    shown = views.decision_view(runtime, view["decision"])["training"]
    assert shown["raters"] == view["raters"]


def bogus(text):
    return text in {f"bogus {n}" for n in range(7)}


def doubting_the_bogus(folder, spec):
    rows = pq.read_table(folder / "rows.parquet").to_pylist()
    scores = [
        {
            "id": row["id"],
            "p_label": 0.4,
            "top": "none" if bogus(row["text"]) else row["intent"],
            "p_top": 0.5,
            "odds": 9.0 if bogus(row["text"]) else 1.0,
            "anchor": 1.0,  # the seeds say nothing against them
        }
        for row in rows
    ]
    pq.write_table(pa.Table.from_pylist(scores), folder / "scores.parquet")
    pq.write_table(pa.table({"id": [], "other": [], "cosine": []}), folder / "pairs.parquet")
    return {}
