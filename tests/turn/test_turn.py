"""One turn from failing intents to a decision, over a real store and real files."""

import pytest
from wheels import ALARM, PLAY, TIMER, WORDS, produce_failures, sample, seed_the_wheel, turn_once

from flywheel.errors import Refused
from flywheel.store import adapters, decisions, golden_set, turns
from flywheel.turn import add_samples, overview, run_until_idle, views
from flywheel.turn.preview import preview


def test_the_first_turn_makes_the_first_champion(wheel):
    seed_the_wheel(wheel)
    turn_id = turn_once(wheel)
    view = views.turn_view(wheel, turn_id)
    assert view["state"] == "done"
    decision = views.decision_view(wheel, view["decision"])
    golden = decision["golden"]
    assert golden["champion"] == {"n": 0, "right": None}
    assert golden["challenger"]["n"] == sum(line["rows"] for line in decision["intents"]) > 0
    assert 0 < golden["challenger"]["right"] <= 1
    (adapter,) = views.adapters_view(wheel)
    assert (adapter["state"], adapter["recipe"]) == ("champion", "frozen")
    assert wheel.serving.serving() == adapter["id"]


def test_a_better_challenger_is_promoted_and_served(wheel):
    seed_the_wheel(wheel)
    turn_once(wheel)
    first = wheel.serving.serving()
    produce_failures(wheel)
    turn_id = turn_once(wheel)
    view = views.turn_view(wheel, turn_id)
    decision = views.decision_view(wheel, view["decision"])
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
    assert wheel.serving.serving() == decision["challenger"]
    assert {line["gate"] for line in decision["gates"]} >= {
        "hygiene",
        "overall",
        "intents",
    }
    assert decision["fixed"]
    assert decision["training"]["by_origin"]["feedback"] > 0
    assert view["cost_usd"] == 0.04


def test_a_figure_on_dev_says_that_dev_chose_the_model(wheel):
    seed_the_wheel(wheel)
    (trained,) = (
        step["detail"]
        for step in views.turn_view(wheel, turn_once(wheel))["steps"]
        if step["name"] == "train"
    )
    assert trained.endswith("on dev, which chose it")


def test_a_turn_with_nothing_new_ends_without_training(wheel):
    seed_the_wheel(wheel)
    turn_once(wheel)
    runs = list(wheel.executor.runs)
    turn_id = turn_once(wheel)
    assert views.turn_view(wheel, turn_id)["state"] == "done"
    assert wheel.executor.runs == runs


def test_poisoned_feedback_does_not_reach_production(wheel):
    seed_the_wheel(wheel)
    turn_once(wheel)
    produce_failures(wheel)
    turn_once(wheel)
    good = wheel.serving.serving()
    poison(wheel)
    turn_id = turn_once(wheel)
    decision = views.decision_view(wheel, views.turn_view(wheel, turn_id)["decision"])
    assert (decision["verdict"], decision["status"]) == ("reject", "rejected")
    assert wheel.serving.serving() == good
    failed = [line["gate"] for line in decision["gates"] if line["verdict"] == "FAIL"]
    assert failed
    assert any(line["intent"] == TIMER and line["losses"] for line in decision["intents"])


def poison(wheel):
    """Everything a person says about timers is labelled an alarm, many times over."""
    rows = [
        sample(f"{word} {extra} poison", ALARM, "train")
        for word in WORDS[TIMER]
        for extra in "abcdefghijklmnopqrst"
    ]
    add_samples(wheel, rows)


def test_a_turn_without_anything_to_learn_from_is_refused_at_once(wheel):
    with pytest.raises(Refused, match="there is nothing to learn from") as caught:
        turn_once(wheel)
    assert "`flywheel samples import FILE --split seed`" in caught.value.hint
    assert views.turns_view(wheel) == []


def test_a_turn_without_a_golden_set_is_refused_at_once(wheel):
    add_samples(wheel, [sample(f"{w[0]} seed", intent, "train") for intent, w in WORDS.items()])
    with pytest.raises(Refused, match="there is no golden set to judge by") as caught:
        turn_once(wheel)
    assert caught.value.hint == "`flywheel samples import FILE --split golden`"
    assert views.turns_view(wheel) == []


def test_golden_texts_never_reach_training(wheel):
    seed_the_wheel(wheel)
    add_samples(wheel, [sample(f"Wake, golden{ALARM}0!", ALARM, "train")])  # golden up to case
    view = views.turn_view(wheel, turn_once(wheel))
    assert view["refused"] == {"leak": 1}


def test_every_query_is_on_record_before_its_answer(wheel):
    seed_the_wheel(wheel)
    turn_once(wheel)
    produce_failures(wheel)
    turn_once(wheel)
    with wheel.store.read() as con:
        rows = golden_set.queries(con, 1)
        made = decisions.list_decisions(con)
    assert [row["challenger"] for row in rows] == [made[0].challenger]  # the first was not compared
    assert status(wheel)["golden"]["queries_left"] == 30 - len(rows)


def test_a_teacher_that_is_down_costs_the_turn_nothing_but_samples(wheel):
    class Down:
        def write(self, briefs, kept):
            from flywheel.errors import TeacherUnavailable

            raise TeacherUnavailable("no answer from http://127.0.0.1:9")

    import dataclasses

    seed_the_wheel(wheel)
    turn_once(wheel)
    produce_failures(wheel)
    view = views.turn_view(wheel, turn_once(dataclasses.replace(wheel, teacher=Down())))
    step = next(step for step in view["steps"] if step["name"] == "synthesize")
    assert step["state"] == "skipped"
    assert "teacher unavailable" in step["detail"]
    assert view["decision"]


def test_the_champion_known_only_by_its_answers_is_compared_by_them(wheel):
    import dataclasses

    rows = []
    for intent, words in WORDS.items():
        rows += [sample(f"{word} seed", intent, "train") for word in words]
        for i in range(40):
            row = sample(f"{words[i % 6]} golden{intent}{i}", intent, "golden")
            rows.append(dataclasses.replace(row, answer=(PLAY, None)))
    add_samples(wheel, rows)
    with wheel.store.read() as con:
        assert adapters.champion(con) == "production"
    decision = views.decision_view(wheel, views.turn_view(wheel, turn_once(wheel))["decision"])
    assert (decision["champion"], decision["verdict"]) == ("production", "promote")
    assert decision["status"] == "applied"


def test_the_golden_set_that_changed_after_its_seal_promotes_nothing(wheel):
    seed_the_wheel(wheel)
    turn_once(wheel)
    with wheel.store.write() as con:
        golden_set.reseal(con, 1, "sha256:something else", 120)
    produce_failures(wheel)
    decision = views.decision_view(wheel, views.turn_view(wheel, turn_once(wheel))["decision"])
    hygiene = next(line for line in decision["gates"] if line["gate"] == "hygiene")
    assert hygiene["verdict"] == "FAIL"
    assert decision["verdict"] == "reject"


def test_an_open_turn_is_named_when_another_is_asked_for(wheel):
    from flywheel.turn import request

    seed_the_wheel(wheel)
    opened = request(wheel, "manual")
    with pytest.raises(Refused, match=rf"{opened.id} is open, in step diagnose"):
        request(wheel, "manual")
    run_until_idle(wheel)
    with wheel.store.read() as con:
        assert turns.open_turns(con) == []


def status(wheel):
    return overview.status(wheel, uptime_s=1.0, next_turn=None)


def test_a_preview_shows_the_prompts_of_the_next_turn_and_buys_nothing(wheel):
    seed_the_wheel(wheel)
    turn_once(wheel)
    produce_failures(wheel)
    found = preview(wheel)
    assert found["samples"] == sum(brief["ask"] for brief in found["briefs"]) > 0
    assert all("<data>" in prompt for brief in found["briefs"] for prompt in brief["prompts"])
    assert not any("golden" in prompt for brief in found["briefs"] for prompt in brief["prompts"])
    assert wheel.teacher.bought == []
    view = views.turn_view(wheel, turn_once(wheel))
    planned = [(brief["intent"], brief["failure"], brief["ask"]) for brief in view["briefs"]]
    assert planned == [(b["intent"], b["failure"], b["ask"]) for b in found["briefs"]]


@pytest.mark.parametrize(
    ("epoch", "told"),
    [(3, "dev by epoch 50.0% → 90.0% → 80.0%;"), (2, "80.0%, that of epoch 2 taken;")],
)
def test_the_training_step_tells_the_learning_curve_and_an_earlier_epoch_that_was_taken(
    wheel, monkeypatch, epoch, told
):
    trained = wheel.executor._train

    def with_curve(folder, spec):
        made = trained(folder, spec)
        curve = [{"epoch": n + 1, "dev_accuracy": value} for n, value in enumerate((0.5, 0.9, 0.8))]
        made["metrics"] |= {"curve": curve, "epoch": epoch}
        return made

    monkeypatch.setattr(wheel.executor, "_train", with_curve)
    seed_the_wheel(wheel)
    view = views.turn_view(wheel, turn_once(wheel))
    (step,) = [step for step in view["steps"] if step["name"] == "train"]
    assert told in step["detail"]
