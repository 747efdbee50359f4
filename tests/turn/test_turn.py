"""One turn from failing intents to a decision, over a real store and real files."""

import pytest
from runtimes import ALARM, PLAY, TIMER, WORDS, sample, seed_runtime, turn_once

from flywheel.errors import Refused
from flywheel.store import adapters, decisions, golden_set, turns
from flywheel.turn import add_samples, run_until_idle
from tests.fakes import json_views as views
from tests.fakes.json_views import preview


def test_the_first_turn_makes_the_first_champion(runtime):
    seed_runtime(runtime)
    turn_id = turn_once(runtime)
    view = views.turn_view(runtime, turn_id)
    assert view["state"] == "done"
    decision = views.decision_view(runtime, view["decision"])
    golden = decision["golden"]
    assert golden["champion"] == {"n": 0, "right": None}
    assert golden["challenger"]["n"] == sum(line["rows"] for line in decision["intents"]) > 0
    assert 0 < golden["challenger"]["right"] <= 1
    (adapter,) = views.adapters_view(runtime)
    assert (adapter["state"], adapter["recipe"]) == ("champion", "frozen")
    assert runtime.serving.serving() == adapter["id"]


def test_a_better_challenger_is_promoted_and_served(learned):
    first = learned.serving.serving()
    turn_id = turn_once(learned)
    view = views.turn_view(learned, turn_id)
    decision = views.decision_view(learned, view["decision"])
    assert [step["name"] for step in view["steps"]] == [
        "diagnose",
        "synthesize",
        "curate",
        "train",
        "evaluate",
        "gate",
        "decide",
        "apply",
        "watch",
    ]
    assert (decision["verdict"], decision["status"]) == ("promote", "applied")
    assert decision["champion"] == first
    assert learned.serving.serving() == decision["challenger"]
    assert {line["gate"] for line in decision["gates"]} >= {
        "hygiene",
        "overall",
        "intents",
    }
    assert decision["fixed"]
    assert decision["training"]["by_origin"]["feedback"] > 0
    assert view["cost_usd"] == 0.04


def test_a_figure_on_dev_says_that_dev_chose_the_model(runtime):
    seed_runtime(runtime)
    (trained,) = (
        step["detail"]
        for step in views.turn_view(runtime, turn_once(runtime))["steps"]
        if step["name"] == "train"
    )
    assert trained.endswith("on dev, which chose it")


def test_a_turn_with_nothing_new_ends_without_training(runtime):
    seed_runtime(runtime)
    turn_once(runtime)
    runs = list(runtime.executor.runs)
    turn_id = turn_once(runtime)
    assert views.turn_view(runtime, turn_id)["state"] == "done"
    assert runtime.executor.runs == runs


def test_poisoned_feedback_does_not_reach_production(learned):
    turn_once(learned)
    good = learned.serving.serving()
    poison(learned)
    turn_id = turn_once(learned)
    decision = views.decision_view(learned, views.turn_view(learned, turn_id)["decision"])
    assert (decision["verdict"], decision["status"]) == ("reject", "rejected")
    assert learned.serving.serving() == good
    failed = [line["gate"] for line in decision["gates"] if line["verdict"] == "FAIL"]
    assert failed
    assert any(line["intent"] == TIMER and line["losses"] for line in decision["intents"])


def poison(runtime):
    """Everything a person says about timers is labelled an alarm, many times over."""
    rows = [
        sample(f"{word} {extra} poison", ALARM, "train")
        for word in WORDS[TIMER]
        for extra in "abcdefghijklmnopqrst"
    ]
    add_samples(runtime, rows, by="ana")


def test_a_turn_without_anything_to_learn_from_is_refused_at_once(runtime):
    with pytest.raises(Refused, match="there is nothing to learn from") as caught:
        turn_once(runtime)
    assert "`flywheel samples import FILE --split seed`" in caught.value.hint
    assert views.turns_view(runtime) == []


def test_a_turn_without_a_golden_set_is_refused_at_once(runtime):
    add_samples(
        runtime, [sample(f"{w[0]} seed", intent, "train") for intent, w in WORDS.items()], by="ana"
    )
    with pytest.raises(Refused, match="there is no golden set to judge by") as caught:
        turn_once(runtime)
    assert caught.value.hint == "`flywheel samples import FILE --split golden`"
    assert views.turns_view(runtime) == []


def test_golden_texts_never_reach_training(runtime):
    seed_runtime(runtime)
    add_samples(
        runtime, [sample(f"Wake, golden{ALARM}0!", ALARM, "train")], by="ana"
    )  # golden up to case
    view = views.turn_view(runtime, turn_once(runtime))
    assert view["refused"] == {"leak": 1}


def test_every_query_is_on_record_before_its_answer(learned):
    turn_once(learned)
    with learned.store.read() as con:
        rows = golden_set.queries(con, 1)
        made = decisions.list_decisions(con)
    assert [row["challenger"] for row in rows] == [made[0].challenger]  # the first was not compared
    assert status(learned)["golden"]["queries_left"] == 30 - len(rows)


def test_a_teacher_that_is_down_costs_the_turn_nothing_but_samples(learned):
    class Down:
        def write(self, briefs, kept):
            from flywheel.errors import TeacherUnavailable

            raise TeacherUnavailable("no answer from http://127.0.0.1:9")

    import dataclasses

    view = views.turn_view(learned, turn_once(dataclasses.replace(learned, teacher=Down())))
    step = next(step for step in view["steps"] if step["name"] == "synthesize")
    assert step["state"] == "skipped"
    assert "teacher unavailable" in step["detail"]
    assert view["decision"]


def test_the_champion_known_only_by_its_answers_is_compared_by_them(runtime):
    import dataclasses

    rows = []
    for intent, words in WORDS.items():
        rows += [sample(f"{word} seed", intent, "train") for word in words]
        for i in range(40):
            row = sample(f"{words[i % 6]} golden{intent}{i}", intent, "golden")
            rows.append(dataclasses.replace(row, answer=(PLAY, None)))
    add_samples(runtime, rows, by="ana")
    with runtime.store.read() as con:
        assert adapters.champion(con) == "production"
    decision = views.decision_view(
        runtime, views.turn_view(runtime, turn_once(runtime))["decision"]
    )
    assert (decision["champion"], decision["verdict"]) == ("production", "promote")
    assert decision["status"] == "applied"


def test_the_golden_set_that_changed_after_its_seal_promotes_nothing(learned):
    with learned.store.write() as con:
        golden_set.reseal(con, 1, "sha256:something else", 120)
    decision = views.decision_view(
        learned, views.turn_view(learned, turn_once(learned))["decision"]
    )
    hygiene = next(line for line in decision["gates"] if line["gate"] == "hygiene")
    assert hygiene["verdict"] == "FAIL"
    assert decision["verdict"] == "reject"


def test_an_open_turn_is_named_when_another_is_asked_for(runtime):
    from flywheel.turn import request

    seed_runtime(runtime)
    opened = request(runtime, "manual")
    with pytest.raises(Refused, match=rf"{opened.id} is open, in step diagnose"):
        request(runtime, "manual")
    run_until_idle(runtime)
    with runtime.store.read() as con:
        assert turns.open_turns(con) == []


def status(runtime):
    return views.status(runtime, uptime_s=1.0, next_turn=None)


def test_a_preview_shows_the_prompts_of_the_next_turn_and_buys_nothing(learned):
    found = preview(learned)
    assert found["samples"] == sum(brief["ask"] for brief in found["briefs"]) > 0
    assert all("<data>" in prompt for brief in found["briefs"] for prompt in brief["prompts"])
    assert not any("golden" in prompt for brief in found["briefs"] for prompt in brief["prompts"])
    assert learned.teacher.bought == []
    view = views.turn_view(learned, turn_once(learned))
    planned = [(brief["intent"], brief["failure"], brief["ask"]) for brief in view["briefs"]]
    assert planned == [(b["intent"], b["failure"], b["ask"]) for b in found["briefs"]]


@pytest.mark.parametrize(
    ("epoch", "told"),
    [(3, "dev by epoch 50.0% → 90.0% → 80.0%;"), (2, "80.0%, that of epoch 2 taken;")],
)
def test_the_training_step_tells_the_learning_curve_and_an_earlier_epoch_that_was_taken(
    runtime, monkeypatch, epoch, told
):
    trained = runtime.executor._train

    def with_curve(folder, spec):
        made = trained(folder, spec)
        curve = [{"epoch": n + 1, "dev_accuracy": value} for n, value in enumerate((0.5, 0.9, 0.8))]
        made["metrics"] |= {"curve": curve, "epoch": epoch}
        return made

    monkeypatch.setattr(runtime.executor, "_train", with_curve)
    seed_runtime(runtime)
    view = views.turn_view(runtime, turn_once(runtime))
    (step,) = [step for step in view["steps"] if step["name"] == "train"]
    assert told in step["detail"]
