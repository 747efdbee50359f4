"""Two champions answer beside each other: by lot, sticky by key, marked in the log."""

import pytest
from word_service import adapter_folder, running

from flywheel.errors import Refused
from flywheel.promotion import ArmPlan

PLAN = ArmPlan(champion="a-2", earlier="a-1", share=0.3, salt="d-7")
KEYS = [f"u-{n}" for n in range(40)]


@pytest.fixture
def two(state):
    """a-2 is champion, and a-1 answers the other keys."""
    with running(state) as run:
        run.there(lambda: run.service.adapters.follow_arms(PLAN))
        assert run.service.adapters.arms is None  # a-1 answers alone until a-2 takes over
        run.there(lambda: run.service.adapters.prepare("a-2"))
        run.there(lambda: run.service.adapters.switch("a-2"))
        yield run


def adapter_for(key):
    return "a-2" if PLAN.gives_new(key) else "a-1"


def test_each_key_is_answered_by_its_arm_and_the_log_says_so(two):
    for key in KEYS:
        for _ in range(2):
            reply = two.client.post("/v1/predict", json={"text": "play jazz", "rater": key})
            assert reply.json()["adapter"] == adapter_for(key)
            assert reply.headers["x-flywheel-adapter"] == adapter_for(key)
    logged = {(line["rater"], line["adapter"], line["arm"]) for line in two.log.lines}
    names = {"a-2": "champion", "a-1": "earlier"}
    assert logged == {(key, adapter_for(key), names[adapter_for(key)]) for key in KEYS}


def test_a_batch_is_answered_in_its_order_each_text_by_its_arm(two):
    inputs = [{"text": f"play {key}", "rater": key} for key in KEYS[:12]]
    reply = two.client.post("/v1/predict", json={"inputs": inputs}).json()["predictions"]
    assert [one["adapter"] for one in reply] == [adapter_for(key) for key in KEYS[:12]]
    assert [one["arguments"]["title"] for one in reply] == KEYS[:12]


def test_the_openai_form_sticks_to_the_user(two):
    for key in KEYS[:12]:
        body = {
            "model": "champion",
            "user": key,
            "messages": [{"role": "user", "content": "play jazz"}],
        }
        assert two.client.post("/v1/chat/completions", json=body).json()["model"] == adapter_for(
            key
        )


def test_who_names_the_champion_gets_it_and_is_no_arm(two):
    other = next(key for key in KEYS if not PLAN.gives_new(key))
    body = {"model": "a-2", "user": other, "messages": [{"role": "user", "content": "play jazz"}]}
    assert two.client.post("/v1/chat/completions", json=body).json()["model"] == "a-2"
    assert "arm" not in two.log.lines[-1]


def test_an_arm_is_not_dropped_and_is_let_go_with_the_plan(two):
    with pytest.raises(Refused, match="a-1 answers traffic"):
        two.there(lambda: two.service.adapters.drop("a-1"))
    assert two.client.get("/v1/serving").json()["arms"] == {
        "champion": "a-2",
        "earlier": "a-1",
        "share": 0.3,
    }
    two.there(lambda: two.service.adapters.follow_arms(None))
    assert two.client.get("/v1/serving").json()["arms"] is None
    assert two.service.adapters.ids() == ["a-2"]
    reply = two.client.post("/v1/predict", json={"text": "play jazz", "rater": KEYS[0]}).json()
    assert reply["adapter"] == "a-2"
    assert "arm" not in two.log.lines[-1]


def test_where_the_earlier_adapter_cannot_be_loaded_the_champion_answers_alone(state):
    adapter_folder(state, "a-3")
    with running(state) as run:
        missing = ArmPlan(champion="a-1", earlier="a-9", share=0.3, salt="d-7")
        with pytest.raises(Exception, match="a-9 has no folder"):
            run.there(lambda: run.service.adapters.follow_arms(missing))
        reply = run.client.post("/v1/predict", json={"text": "play jazz", "rater": "u-1"})
        assert reply.json()["adapter"] == "a-1"


def test_a_rollback_ends_both_arms_in_one_step(two):
    two.there(lambda: two.service.adapters.switch("a-1"))
    assert two.service.adapters.arms is None
    for key in KEYS[:6]:
        reply = two.client.post("/v1/predict", json={"text": "play jazz", "rater": key})
        assert reply.json()["adapter"] == "a-1"
