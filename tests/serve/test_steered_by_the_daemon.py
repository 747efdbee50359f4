"""What the daemon says to the server over its socket, said to the real one."""

import json

import pytest

from flywheel.errors import NotLoaded, ServingAway
from flywheel.records import ServedAnswer
from flywheel.serving import LocalServer


@pytest.fixture
def local(state):
    return LocalServer(state / "adapters", state / "serve.sock")


def test_an_adapter_is_asked_beside_the_champion_and_takes_over(served, local):
    before = local.state()
    assert (before.adapter, before.loaded, before.engine) == ("a-1", ("a-1",), "words")
    prepared = local.prepare("a-2")
    assert (prepared.adapter, prepared.loaded) == ("a-1", ("a-1", "a-2"))
    texts = [f"wake me at {n}" for n in range(20)]
    assert local.ask("a-2", texts) == [
        ServedAnswer(adapter="a-2", intent="set_alarm", arguments={"time": str(n)}, confidence=0.75)
        for n in range(20)
    ]
    assert served.log.lines == []  # it is no traffic
    assert local.state() == before.__class__(
        adapter="a-1", loaded=("a-1", "a-2"), engine="words", instance=before.instance
    )
    local.promote("a-2")
    assert served.client.post("/v1/predict", json={"text": "play it"}).json()["adapter"] == "a-2"
    after = local.state()
    assert (after.adapter, local.serving()) == ("a-2", "a-2")
    assert after.instance != before.instance
    local.drop("a-1")
    local.drop("a-2")
    assert local.state().loaded == ("a-2",)
    local.retire()
    assert (local.state().adapter, local.serving()) == (None, None)


def test_a_server_that_says_another_rule_than_was_evaluated_is_refused_before_it_is_asked(
    served, local, state
):
    facts = {"id": "a-2", "max_length": 32, "recipe": "quick"}
    (state / "adapters" / "a-2" / "flywheel.json").write_text(json.dumps(facts))
    with pytest.raises(
        NotLoaded, match="another `max_length` than a-2 was evaluated with: 64, not 32"
    ):
        local.prepare("a-2")
    assert served.routers["a-2"].batches == []
    assert local.state().adapter == "a-1"


def test_what_the_server_refuses_is_no_outage(served, local):
    with pytest.raises(NotLoaded, match="adapter a-9 has no folder"):
        local.prepare("a-9")
    with pytest.raises(ServingAway, match="adapter a-9 is not loaded"):
        local.ask("a-9", ["play it"])
